"""The forecaster against hand-written recurrences and an independent composition."""

import itertools

import pytest
import torch
from torch import nn

from lstm_airquality.model import Forecaster, positions

PARAMETERS = [
    ({"cell": "lstm", "bidirectional": False}, 13, 21_069),
    ({"cell": "lstm"}, 13, 42_125),
    ({"cell": "gru", "bidirectional": False}, 13, 16_013),
    ({"cell": "gru"}, 13, 32_013),
    ({"cell": "transformer"}, 13, 35_341),
    ({"cell": "gru", "relative": True}, 20, 39_693),
    ({"cell": "lstm", "relative": True}, 20, 52_365),
    ({"cell": "gru", "relative": True, "hidden_size": 128}, 20, 128_525),
    ({"cell": "lstm", "relative": True, "hidden_size": 128}, 20, 170_253),
]
FORMS = [
    {"cell": cell, "readout": readout, "relative": relative, "target": target}
    for cell, readout, (relative, target) in itertools.product(
        ("lstm", "gru", "transformer"),
        ("last", "ends"),
        ((False, "value"), (True, "change")),
    )
]


def windows(count=5, length=7, inputs=13, seed=0):
    return torch.randn(count, length, inputs, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("settings", "inputs", "count"), PARAMETERS)
def test_parameter_counts_are_those_of_the_docstring(settings, inputs, count, parameters):
    model = Forecaster(inputs, **settings)
    assert parameters(model) == count
    assert f"{count:,}" in Forecaster.__doc__


def lstm_by_hand(inputs, w_in, w_hidden, b_in, b_hidden):
    """Hochreiter and Schmidhuber 1997 with a forget gate; gates in torch's order i, f, g, o."""
    hidden = cell = torch.zeros(len(inputs), w_hidden.shape[1])
    states = []
    for step in inputs.unbind(1):
        gates = step @ w_in.T + b_in + hidden @ w_hidden.T + b_hidden
        enter, forget, candidate, leave = gates.chunk(4, dim=1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
        hidden = leave.sigmoid() * cell.tanh()
        states.append(hidden)
    return torch.stack(states, dim=1)


def gru_by_hand(inputs, w_in, w_hidden, b_in, b_hidden):
    """Cho et al. 2014, the reset gate after the matrix product; gates in torch's order r, z, n."""
    hidden = torch.zeros(len(inputs), w_hidden.shape[1])
    states = []
    for step in inputs.unbind(1):
        of_input = (step @ w_in.T + b_in).chunk(3, dim=1)
        of_hidden = (hidden @ w_hidden.T + b_hidden).chunk(3, dim=1)
        reset = (of_input[0] + of_hidden[0]).sigmoid()
        update = (of_input[1] + of_hidden[1]).sigmoid()
        candidate = (of_input[2] + reset * of_hidden[2]).tanh()
        hidden = (1 - update) * candidate + update * hidden
        states.append(hidden)
    return torch.stack(states, dim=1)


@pytest.mark.parametrize("readout", ["last", "ends"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("cell", "by_hand"), [("lstm", lstm_by_hand), ("gru", gru_by_hand)])
def test_published_form_against_a_loop_written_by_hand(cell, by_hand, bidirectional, readout):
    torch.manual_seed(1)
    model = Forecaster(13, cell=cell, bidirectional=bidirectional, readout=readout).eval()
    given = windows()
    weights = list(model.encoder.parameters())
    steps = by_hand(given, *weights[:4])
    states = [steps[:, -1]]
    if bidirectional:
        back = by_hand(given.flip(1), *weights[4:])  # in the order it reads
        # At the window's last step the backward direction has read one hour, at its end all.
        states.append(back[:, 0] if readout == "last" else back[:, -1])
    expected = torch.relu(torch.cat(states, dim=1)) @ model.head.weight.T + model.head.bias
    torch.testing.assert_close(model(given), expected)


def test_relative_change_form_against_its_definition():
    torch.manual_seed(1)
    settings = {"cell": "gru", "readout": "last"}
    model = Forecaster(20, relative=True, target="change", **settings).eval()
    nn.init.normal_(model.head.weight)
    plain = Forecaster(33, **settings).eval()
    plain.load_state_dict(model.state_dict())
    given = windows(inputs=20)
    last = given[:, -1:, :13]
    inputs = torch.cat([given[:, :, :13] - last, last.repeat(1, 7, 1), given[:, :, 13:]], dim=2)
    torch.testing.assert_close(model(given), plain(inputs) + last[:, 0])


@pytest.mark.parametrize("relative", [True, False])
def test_seasons_before_the_forecast_stand_beside_every_step_of_the_window(relative):
    torch.manual_seed(2)
    settings = {"cell": "lstm", "readout": "ends"}
    season = {"window": 4, "season_steps": (-2, -7)}
    model = Forecaster(20, relative=relative, **season, **settings).eval()
    plain = Forecaster(59 if relative else 46, **settings).eval()
    plain.load_state_dict(model.state_dict())
    given = windows(inputs=20)  # of 7 rows
    values, others = given[:, :, :13], given[:, :, 13:]
    last = values[:, -1:] if relative else torch.zeros(5, 1, 13)
    level = [last.repeat(1, 4, 1)] if relative else []
    seasons = [(values[:, row : row + 1] - last).repeat(1, 4, 1) for row in (5, 0)]
    inputs = torch.cat([values[:, 3:] - last, *level, *seasons, others[:, 3:]], dim=2)
    torch.testing.assert_close(model(given), plain(inputs))


def test_the_change_starts_between_the_last_value_and_those_of_the_seasons():
    model = Forecaster(20, 13, 2, target="change", season_steps=(-2, -7)).eval()
    nn.init.constant_(model.season_weights[0], 0.5)
    nn.init.constant_(model.season_weights[1], 0.25)
    given = windows(inputs=20)  # of 7 rows
    last, day, week = (given[:, row, :2] for row in (6, 5, 0))
    torch.testing.assert_close(model(given), 0.25 * last + 0.5 * day + 0.25 * week)


def test_some_of_the_columns_alone_are_forecast():
    model = Forecaster(20, 13, 2, target="change").eval()
    given = windows(inputs=20)
    assert torch.equal(model(given), given[:, -1, :2])


def test_untrained_change_form_is_persistence():
    given = windows(inputs=20)
    for form in FORMS:
        if form["target"] == "change":
            model = Forecaster(20, **form).eval()
            assert torch.equal(model(given), given[:, -1, :13]), form


def test_relative_change_form_is_indifferent_to_the_level_it_is_told_nothing_of():
    """With the weights of the level at zero, a higher series is forecast as much higher."""
    model = Forecaster(13, cell="gru", relative=True, target="change").eval()
    nn.init.normal_(model.head.weight)
    with torch.no_grad():
        model.encoder.weight_ih_l0[:, 13:26] = 0
        model.encoder.weight_ih_l0_reverse[:, 13:26] = 0
    given = windows()
    torch.testing.assert_close(model(given + 3), model(given) + 3)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())))
def test_gradient_reaches_every_parameter(form, unreached):
    torch.manual_seed(0)
    model = Forecaster(20, layers=2, dropout=0.0, **form)
    nn.init.normal_(model.head.weight)  # a head at zero passes nothing on
    without = unreached(model, model(windows(inputs=20)).square().sum())
    # At the last step the backward direction starts from a state of zero: its recurrent weights
    # of the top layer multiply nothing, which is why `ends` exists.
    idle = {"encoder.weight_hh_l1_reverse"} if form["readout"] == "last" else set()
    assert without == (idle if form["cell"] != "transformer" else set())


@pytest.mark.parametrize("cell", ["lstm", "gru", "transformer"])
def test_one_batch_overfits(cell, learn):
    torch.manual_seed(0)
    model = Forecaster(13, cell=cell, dropout=0.0, hidden_size=32)
    given, truth = windows(8), windows(8, length=1, seed=1)[:, 0]
    losses = learn(model, lambda: (model(given) - truth).square().mean(), 2e-2, 120)
    assert losses[-1] < 0.01


def test_transformer_knows_the_order_of_the_hours():
    model = Forecaster(13, cell="transformer").eval()
    given = windows()
    shuffled = torch.cat([given[:, [2, 0, 1, 5, 4, 3]], given[:, 6:]], dim=1)
    assert not torch.allclose(model(given), model(shuffled), atol=1e-4)


def test_positions_are_sines_and_cosines():
    table = positions(torch.zeros(1, 9, 8))
    assert table.shape == (9, 8)
    torch.testing.assert_close(table[5, 0], torch.tensor(5.0).sin())
    torch.testing.assert_close(table[5, 3], torch.tensor(5 / 10_000 ** (2 / 8)).cos())
