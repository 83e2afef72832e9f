"""What a search does next, without a store."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import Job, JobKind, JobState
from visionyard.kit.names import ResourceName
from visionyard.training.estimates.price import Price
from visionyard.training.spec import TrainingSpec
from visionyard.training.tuning.advancing import Moment, advance, to_stop, verdict
from visionyard.training.tuning.search import Observed, Search, TuningSpec
from visionyard.training.tuning.space import Parameter

KEY = "metrics/mAP50-95(B)"
BEGAN = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TRAINING = TrainingSpec("projects/p/datasets/d/versions/1", "projects/p/models/m", architecture="yolov8n.yaml", epochs=9)
SECOND = Price("EUR", 3600.0)
"""A second costs one."""
SPEC = TuningSpec(TRAINING, (Parameter("lr0", 0.0, 1.0),), KEY, trials=9)


class World:
    """Trainings that do what they are told."""

    def __init__(self, **changes):
        self.search = Search(replace(SPEC, **changes))
        self.now = BEGAN
        self.jobs = {}
        self.drawn_from = []
        self.cancelling = False
        self.refused = {}

    def draw(self, number, past):
        self.drawn_from.append((number, list(past)))
        return {"lr0": number / 100}

    def look(self, seconds=2):
        self.now += timedelta(seconds=seconds)
        self.search = advance(self.search, Moment(self.now, self.cancelling, dict(self.jobs), self.refused), self.draw)
        assert Search.of(Job(ResourceName("p", "tuningJobs", "t"), JobKind.TUNING, self.search.spec.to_json(), JobState.RUNNING, 0, BEGAN, "", self.search.pointers())) == self.search  # fmt: skip
        return self.search

    def job(self, number, state, epochs, value=None, **changes):
        ended = self.now if state.finished else None
        job = Job(ResourceName("p", "trainingJobs", f"j{number}"), JobKind.TRAINING, {"epochs": epochs}, state, 1, BEGAN, "", start_time=BEGAN, end_time=ended, pointers={"model_version": f"v{number}.{epochs}"}, **changes)  # fmt: skip
        self.jobs[number] = Observed(job, epochs if state is JobState.SUCCEEDED else 0, {} if value is None else {KEY: value})

    def queued(self, number, epochs=1):
        self.job(number, JobState.QUEUED, epochs)

    def running(self, number, epochs=1, value=None):
        self.job(number, JobState.RUNNING, epochs, value)

    def ends(self, number, value, epochs=1):
        self.job(number, JobState.SUCCEEDED, epochs, value)

    def fails(self, number, epochs=1):
        self.job(number, JobState.FAILED, epochs, error=YardError(Reason.OUT_OF_MEMORY, "no memory"))

    def first_rung(self, values):
        """All trials of the first rung, ended with these metrics; None: failed."""
        epochs = self.search.spec.rungs[0].epochs
        for number, value in enumerate(values, 1):
            self.look()
            self.running(number, epochs)
            self.look()
            self.fails(number, epochs) if value is None else self.ends(number, value, epochs)
        return self.look()

    def takes(self, number, seconds):
        """A trial begins, trains an epoch for so many seconds and ends, a better one than all before."""
        self.look(0)
        self.running(number)
        self.jobs[number] = replace(self.jobs[number], job=replace(self.jobs[number].job, start_time=self.now))
        self.look(0)
        self.look(seconds)
        self.ends(number, number / 10)
        self.jobs[number] = replace(self.jobs[number], measured_s=seconds)
        self.look(0)
        self.look(0)

    def states(self):
        return [trial.state.name for trial in self.search.trials]

    def at_rung(self, rung):
        return [trial.number for trial in self.search.trials if trial.rung == rung]


def test_one_trial_waits_and_no_more():
    world = World()
    assert world.look().trials[0].parameters == {"lr0": 0.01}
    world.look()
    assert world.states() == ["QUEUED"], "it is not queued yet"
    world.queued(1)
    world.look()
    assert world.states() == ["QUEUED"]
    world.running(1)
    world.look()
    assert world.states() == ["RUNNING", "QUEUED"]
    world.running(2)
    world.look()
    assert world.states() == ["RUNNING", "RUNNING", "QUEUED"], "as many as there are slots"


def test_no_more_at_once_than_are_wanted():
    world = World(max_parallel=1)
    for number in range(1, 4):
        world.look()
        world.running(number)
        world.look()
        world.look()
        assert len(world.search.trials) == number
        world.ends(number, 0.1)
        world.look()
    assert world.states() == ["WAITING", "WAITING", "WAITING", "QUEUED"]


def test_what_is_drawn_is_told_earlier_results():
    world = World(max_parallel=1)
    world.first_rung([0.3, None, 0.2])
    assert world.drawn_from[3] == (4, [({"lr0": 0.01}, 0.3), ({"lr0": 0.02}, 0.0), ({"lr0": 0.03}, 0.2)])


def test_the_best_third_goes_on_and_is_resumed():
    world = World(max_parallel=1)
    assert [(rung.trials, rung.epochs) for rung in world.search.spec.rungs] == [(9, 1), (3, 3), (1, 9)]
    world.first_rung([0.1, 0.5, None, 0.4, 0.2, 0.45, 0.3, 0.05, 0.35])
    assert world.at_rung(1) == [2, 4, 6]
    assert world.states() == ["STOPPED", "QUEUED", "FAILED", "QUEUED", "STOPPED", "QUEUED", "STOPPED", "STOPPED", "STOPPED"]
    world.look()
    assert world.states()[1] == "QUEUED", "its training has the first rung's epochs still: it is not mistaken for this one's"
    world.queued(2, 3)
    world.running(4, 3, value=0.41)
    world.look()
    assert [world.search.trials[number - 1].value for number in (2, 4)] == [0.5, 0.41]
    for number, value in ((2, 0.6), (4, 0.7)):
        world.ends(number, value, 3)
    world.look()
    assert world.at_rung(2) == [], "one of the rung still trains"
    world.fails(6, 3)
    world.look()
    assert (world.at_rung(2), world.search.rung) == ([4], 2)
    world.ends(4, 0.65, 9)
    ended = world.look()
    assert ended.ended
    assert ended.stopped_early == ""
    assert ended.best.number == 4, "its last result counts, though trial 2 had less with fewer epochs"
    assert [(r.rung, r.epochs, r.value, r.model_version) for r in ended.best.results] == [(0, 1, 0.4, "v4.1"), (1, 3, 0.7, "v4.3"), (2, 9, 0.65, "v4.9")]  # fmt: skip
    assert (world.states()[3], world.states()[1], world.states()[5]) == ("COMPLETED", "STOPPED", "FAILED")
    assert verdict(ended) is None


def test_equal_results_go_by_number():
    world = World(max_parallel=1)
    world.first_rung([0.2] * 9)
    assert world.at_rung(1) == [1, 2, 3]


def test_a_trial_that_fails_later_is_the_best_only_where_nothing_else_has_a_result():
    world = World(trials=3, max_parallel=1)
    world.first_rung([0.9, 0.1, 0.2])
    world.fails(1, 9)
    ended = world.look()
    assert ended.ended
    assert ended.best.number == 3
    assert ended.stopped_early == "no trial of rung 2 has a result"
    world = World(trials=3, max_parallel=1)
    world.first_rung([0.9, None, None])
    world.fails(1, 9)
    assert world.look().best.number == 1


def test_all_failed():
    world = World(max_parallel=1)
    ended = world.first_rung([None] * 9)
    assert ended.ended
    error = verdict(ended)
    assert error.reason is Reason.OUT_OF_MEMORY
    assert error.message == "none of the 9 trials has a result; trial 1: no memory"


def test_a_result_without_the_metric_is_a_failure():
    world = World(trials=1)
    world.look()
    world.job(1, JobState.SUCCEEDED, 9)  # Ultralytics gave no number: the metric was NaN
    ended = world.look()
    assert world.states() == ["FAILED"]
    assert verdict(ended).reason is Reason.TRAINING_FAILED


def test_a_trial_that_cannot_be_queued_fails():
    world = World(trials=2, max_parallel=1)
    world.look()
    world.refused = {1: YardError(Reason.DATASET_NOT_FOUND, "gone")}
    world.look()
    assert world.states() == ["FAILED", "QUEUED"]
    world.refused = {}
    world.ends(2, 0.2, 9)
    assert world.look().best.number == 2


def test_a_trial_that_its_user_cancels_is_out():
    world = World(trials=2, max_parallel=1)
    world.look()
    world.job(1, JobState.CANCELLED, 9)
    world.look()
    assert world.states() == ["CANCELLED", "QUEUED"]


def test_cancelling_waits_for_what_runs_and_keeps_what_is_done():
    world = World(max_parallel=2)
    world.look()
    world.ends(1, 0.4)
    world.look()
    world.running(2)
    world.look()
    assert world.states() == ["WAITING", "RUNNING", "QUEUED"]
    world.cancelling = True
    world.look()
    assert [to_stop(world.search, trial, cancelling=True) for trial in world.search.trials] == [False, True, True]
    assert not world.search.ended
    world.job(2, JobState.CANCELLED, 1)
    world.job(3, JobState.CANCELLED, 1)
    ended = world.look()
    assert ended.ended
    assert world.states() == ["STOPPED", "CANCELLED", "CANCELLED"]
    assert ended.best.number == 1


def test_cancelling_does_not_wait_for_what_was_about_to_be_resumed():
    world = World(trials=3, max_parallel=1)
    world.first_rung([0.1, 0.2, 0.3])
    assert world.states() == ["STOPPED", "STOPPED", "QUEUED"]
    world.cancelling = True
    assert world.look().ended
    assert world.states() == ["STOPPED"] * 3


def test_a_time_limit_ends_it_with_the_best_so_far():
    world = World(time_limit_s=100.0)
    world.look()
    world.running(1)
    world.look()
    world.running(2)
    world.look()
    assert world.states() == ["RUNNING", "RUNNING", "QUEUED"]
    world.look(60)
    assert world.search.stopped_early.endswith("s, and the limit is 100 s"), "two of 60 s"
    assert [to_stop(world.search, trial, cancelling=False) for trial in world.search.trials] == [False, False, True]
    world.ends(1, 0.4)
    world.ends(2, 0.5)
    world.job(3, JobState.CANCELLED, 1)
    ended = world.look()
    assert ended.ended
    assert ended.best.number == 2
    assert world.states() == ["STOPPED", "STOPPED", "CANCELLED"]
    assert len(world.search.trials) == 3


def test_what_would_go_beyond_the_budget_does_not_begin():
    world = World(budget=45.0, price=SECOND, max_parallel=1)
    for number in range(1, 4):
        world.takes(number, 12)
    assert world.search.ended
    assert len(world.search.trials) == 3, "a fourth would be the 48th second"
    assert world.search.best.number == 3
    assert world.search.stopped_early == "its trials have cost 36.00 EUR, and the budget is 45.00 EUR: one more trial would go beyond it"


def test_only_as_many_go_on_as_the_budget_has_room_for():
    world = World(budget=9 * 12.0 + 50.0, price=SECOND, max_parallel=1)
    for number in range(1, 10):
        world.takes(number, 12)
    assert world.at_rung(1) == [8, 9], "two epochs of 12 s each for two trials, not for three"
    world = World(budget=9 * 12.0 + 10.0, price=SECOND, max_parallel=1)
    for number in range(1, 10):
        world.takes(number, 12)
    assert world.search.ended
    assert world.search.best.number == 9
    assert "another rung would go beyond it" in world.search.stopped_early


def test_each_of_the_machines_that_a_trial_trains_on_costs_what_one_costs():
    world = World(budget=90.0, price=SECOND, max_parallel=1, training=replace(TRAINING, gpus=1, nodes=2, launcher="ray"))
    for number in range(1, 4):
        world.takes(number, 12)
    assert world.search.ended
    assert (world.search.cost, len(world.search.trials)) == (72, 3), "a fourth would make it 96"


def test_what_runs_beyond_the_budget_is_cancelled():
    world = World(budget=20.0, price=SECOND)
    world.look()
    world.running(1)
    world.look()
    world.jobs[1] = replace(world.jobs[1], measured_s=30)
    world.look(1)
    assert [to_stop(world.search, trial, cancelling=False) for trial in world.search.trials] == [True, True]
    for number in (1, 2):
        world.job(number, JobState.CANCELLED, 1)
    assert world.look().ended
    error = verdict(world.search)
    assert error.reason is Reason.LIMIT_REACHED
    assert "--budget" in error.message


def test_without_a_budget_a_price_limits_nothing():
    world = World(price=SECOND, max_parallel=1)
    for number in range(1, 10):
        world.takes(number, 12)
    assert world.search.cost == 9 * 12
    assert len(world.at_rung(1)) == 3


def test_what_the_rungs_before_have_cost_counts_on():
    world = World(price=SECOND, max_parallel=1)
    for number in range(1, 10):
        world.takes(number, 12)
    assert world.at_rung(1) == [7, 8, 9]
    world.running(9, 3)
    world.jobs[9] = replace(world.jobs[9], measured_s=20)
    world.look()
    assert world.search.cost == 9 * 12 + 20


def test_hours_in_which_the_machine_was_off_cost_nothing():
    world = World(budget=100.0, price=SECOND)
    world.look()
    world.running(1)
    world.jobs[1] = replace(world.jobs[1], measured_s=30)
    world.look()
    world.look(36_000)
    assert not world.search.overspent
    assert [to_stop(world.search, trial, cancelling=False) for trial in world.search.trials] == [False, False]


def test_time_is_counted_while_a_slot_is_held():
    world = World(trials=3, max_parallel=1)
    world.look(10)
    world.queued(1)
    world.look(100)
    assert world.search.trained_seconds(world.now) == 0
    world.jobs[1] = replace(world.jobs[1], job=replace(world.jobs[1].job, state=JobState.RUNNING, start_time=world.now))
    world.look(1)
    assert world.look(4).trained_seconds(world.now) == 5
    world.jobs[1] = replace(world.jobs[1], job=replace(world.jobs[1].job, state=JobState.QUEUED))  # preempted
    assert world.look(1).trained_seconds(world.now) == 6
    assert world.look(50).trained_seconds(world.now) == 6
    world.jobs[1] = replace(world.jobs[1], job=replace(world.jobs[1].job, state=JobState.RUNNING))
    world.look(1)
    assert world.look(10).trained_seconds(world.now) == 16
