"""What the eight projects share. Importing it checks that the environment can run them."""

from common import environment

environment.check()
