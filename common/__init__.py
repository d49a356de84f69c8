"""What the eight projects share: settings, training loop, device, metrics, data."""
