"""What is compiled for fixed shapes, and what is not. The compiler itself is PyTorch's; here mostly none runs."""

import pytest
import torch

from maskmill.models.compiled import FixedShapes, check
from maskmill.models.errors import EnvironmentFailure


@pytest.fixture
def passes():
    return FixedShapes(lambda values, offsets: (values.float() / 2 + offsets[:, None], offsets * 2), backend="eager")


def given(rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(rows * columns, dtype=torch.uint8).view(rows, columns), torch.arange(rows)


def test_only_prepared_shapes_are_covered(passes):
    assert not passes.covers(given(2, 3)[0])
    passes.prepare(given(2, 3))
    passes.prepare(given(4, 3))
    assert [passes.covers(given(*shape)[0]) for shape in [(2, 3), (4, 3), (3, 3), (2, 4)]] == [True, True, False, False]


def test_outputs_are_those_of_the_function_for_other_values_and_other_layouts(passes):
    passes.prepare(given(3, 4))
    values, offsets = given(3, 4)
    for layout in (values + 7, (values + 7).T.contiguous().T, (values + 7).repeat(1, 2)[:, ::2]):
        first, second = passes(layout, offsets + 1)
        assert torch.equal(first, layout.float() / 2 + (offsets + 1)[:, None])
        assert torch.equal(second, (offsets + 1) * 2)


def test_outputs_stay_when_the_pass_runs_again(passes):
    passes.prepare(given(2, 2))
    first, _ = passes(*given(2, 2))
    kept = first.clone()
    passes(torch.full((2, 2), 9, dtype=torch.uint8), torch.ones(2, dtype=torch.int64))
    assert torch.equal(first, kept)


def test_more_shapes_than_pytorch_keeps_by_itself_are_all_compiled():
    seen = []

    def forward(values):
        return (values + len(values),)

    def backend(graph, _inputs):
        seen.append(graph)
        return graph.forward

    passes = FixedShapes(forward, backend=backend)
    for rows in range(2, 14):
        passes.prepare([torch.zeros(rows)])
    assert len(seen) == 12
    for rows in range(2, 14):
        assert torch.equal(passes(torch.zeros(rows))[0], torch.full((rows,), float(rows)))
    assert len(seen) == 12, "nothing is compiled once it was prepared"


def test_what_can_not_be_compiled_is_said_in_one_line():
    def without_compiler(_graph, _inputs):
        raise OSError("no g++\nlooked for it at three places")

    with pytest.raises(EnvironmentFailure, match=r"--compile: .*no g\+\+ looked.*leave --compile out") as caught:
        FixedShapes(lambda values: (values + 1,), backend=without_compiler).prepare([torch.ones(3)])
    assert "\n" not in str(caught.value)


def test_memory_that_does_not_suffice_is_said_with_the_shape():
    def large(_graph, _inputs):
        def run(*_):
            raise torch.OutOfMemoryError("CUDA out of memory")

        return run

    with pytest.raises(EnvironmentFailure, match=r"3 x 5 don't fit.*smaller --batch-size"):
        FixedShapes(lambda values: (values + 1,), backend=large).prepare([torch.ones(3, 5)])


@pytest.mark.slow
def test_this_machine_compiles():
    check(torch.device("cpu"))


@pytest.mark.gpu
def test_a_recorded_pass_computes_what_the_function_does():
    device = torch.device("cuda")
    passes = FixedShapes(lambda values: (values.float().exp().softmax(-1), values.sum(-1)))
    for rows in (2, 5):
        passes.prepare([torch.zeros(rows, 100, device=device)])
    for rows in (5, 2, 5):
        values = torch.randn(rows, 100)
        first, second = passes(values)
        torch.testing.assert_close(first.cpu(), values.exp().softmax(-1))
        torch.testing.assert_close(second.cpu(), values.sum(-1))
