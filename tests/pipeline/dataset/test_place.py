import pytest
import torch.distributed

from maskmill.models.errors import UsageError
from maskmill.pipeline.dataset.place import Place, distributed, environment


@pytest.mark.parametrize(
    ("variables", "place"),
    [({}, (0, 1)), ({"RANK": "2", "WORLD_SIZE": "3"}, (2, 3)), ({"WORLD_SIZE": "1"}, (0, 1))],
)
def test_the_environment_names_rank_and_world(monkeypatch, variables, place):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert environment() == Place(rank=place[0], world=place[1])


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "2"}, "RANK isn't set"),
        ({"RANK": "2"}, "rank 2 of 1"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "rank -1 of 2"),
        ({"RANK": "first", "WORLD_SIZE": "2"}, "RANK 'first'"),
    ],
)
def test_an_environment_that_names_no_place_is_refused(monkeypatch, variables, message):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message):
        environment()


def test_a_process_group_names_the_place_while_there_is_one(tmp_path):
    assert distributed() is None
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        assert distributed() == Place(rank=0, world=1)
    finally:
        torch.distributed.destroy_process_group()
    assert distributed() is None
