"""The 23 promises: sentence, tests, and the numbers below which a promise is broken."""

from scripts.reliability.promise import Number, Promise

_FAULTS = "tests/train/test_store_faults.py"
_ATOMIC = "tests/io/test_atomic.py"
_STORE = "tests/train/test_store.py"
_FAULTY = "tests/run/test_faults.py"
_CLI_RESUME = "tests/run/test_cli_resume.py"
_PROFILE = "tests/users/test_profile_file.py"

CHECKPOINTS = (
    Promise(
        code="P1",
        sentence="A kill never costs you a finished checkpoint.",
        tests=(
            f"{_FAULTS}::test_dying_at_any_file_operation_loses_nothing",
            f"{_FAULTS}::test_the_enumeration_notices_a_store_that_prunes_first",
            f"{_FAULTS}::test_two_hundred_random_kills_lose_nothing",
            f"{_FAULTS}::test_random_kills_lose_nothing",
            f"{_ATOMIC}::test_dying_anywhere_leaves_the_old_file_or_the_new_one",
            f"{_ATOMIC}::test_acknowledged_lines_survive_kills",
        ),
        numbers=(Number(what="crash points", least=280), Number(what="kills", least=200)),
    ),
    Promise(
        code="P2",
        sentence="Nor does a power cut.",
        tests=("tests/train/test_store_power.py",),
        numbers=(Number(what="disks after a power cut", least=100),),
    ),
    Promise(
        code="P3",
        sentence="A full disk never damages what you have.",
        tests=(
            f"{_FAULTS}::test_a_disk_that_fills_at_any_operation_damages_nothing",
            f"{_FAULTS}::test_a_full_disk_is_explained_and_the_staging_is_removed",
            f"{_FAULTS}::test_a_real_file_size_limit_keeps_the_old_checkpoint",
            f"{_FAULTS}::test_a_folder_that_cannot_be_written_fails_at_the_start",
            f"{_FAULTS}::test_a_probe_that_is_refused_fails_at_the_start",
            f"{_ATOMIC}::test_a_full_disk_leaves_the_old_file_and_nothing_else",
        ),
        numbers=(Number(what="full-disk points", least=280),),
    ),
    Promise(
        code="P4",
        sentence="Damage is noticed, never trained on.",
        tests=("tests/train/test_damaged_corpus.py", _STORE,
               f"{_PROFILE}::test_no_damage_ends_in_anything_but_our_own_error"),
        numbers=(
            Number(what="bit flips noticed", least=100),
            Number(
                what="damaged checkpoints",
                least=20,
                each="test_a_damaged_checkpoint_is_refused_with_its_reason_and_the_older_one_is_used",
            ),
        ),
    ),
    Promise(
        code="P5",
        sentence="Resume is the same run, bit for bit (CPU, same build, same threads).",
        tests=(
            "tests/run/test_resume.py",
            f"{_CLI_RESUME}::test_killed_after_every_step_and_continued_by_the_command_it_is_the_same_run",
            f"{_CLI_RESUME}::test_a_process_that_is_really_killed_goes_on_as_if_it_had_not_been",
            "tests/run/test_users_run.py::test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit",
            "tests/run/test_rollouts.py::"
            "test_a_run_killed_inside_a_round_and_resumed_is_the_uninterrupted_run",
            "tests/train/test_optim.py",
        ),
        numbers=(Number(what="cuts", least=20), Number(what="processes killed", least=1)),
    ),
    Promise(
        code="P6",
        sentence="Change processes or micro-batches; the order of the data stays.",
        tests=(
            "tests/data/test_order.py",
            "tests/data/test_batches.py",
            "tests/test_draws.py",
            "tests/test_backward_coupled.py",
            "tests/run/test_processes.py",
            "tests/run/test_online_processes.py",
        ),
        numbers=(
            Number(
                what="divisors of 24",
                least=8,
                each="test_any_number_of_processes_draws_the_same_samples",
            ),
        ),
    ),
)  # fmt: skip

INPUTS = (
    Promise(
        code="P7",
        sentence="Nothing you load can run code.",
        tests=(
            "tests/test_doors.py",
            "tests/io/test_weights_door.py",
            "tests/io/test_convert_door.py",
            "tests/cli/test_canaries.py",
            "tests/io/test_text_door.py::test_yaml_runs_no_code",
        ),
        numbers=(
            Number(what="canaries x entry points", least=60),
            Number(what="forbidden idioms the lint knows", least=40, each="test_the_lint_bites"),
        ),
    ),
    Promise(
        code="P8",
        sentence="Every bad row is named with file, line and reason.",
        tests=("tests/data/test_fuzz.py", "tests/data/test_records.py",
               "tests/io/test_text_door.py", "tests/io/test_paths_door.py"),
        numbers=(
            Number(what="fuzzed rows of jsonl", least=10_000),
            Number(what="fuzzed rows of parquet", least=10_000),
            Number(what="fuzzed rows of folders", least=1_000),
        ),
    ),
    Promise(
        code="P9",
        sentence="Images mean what you saw.",
        tests=("tests/io/test_image_door.py", "tests/data/test_images_in_rows.py"),
        numbers=(
            Number(what="images with known pixels", least=30,
                   each="test_an_image_means_what_was_seen"),
            Number(what="damaged or foreign images", least=30,
                   each="test_a_damaged_or_foreign_file_is_refused_by_name"),
            Number(what="bombs refused in 50 ms", least=12,
                   each="test_a_bomb_is_refused_before_it_is_decoded"),
        ),
    ),
)  # fmt: skip

NUMBERS = (
    Promise(
        code="P10",
        sentence="Losses are right.",
        tests=("tests/test_every_loss.py", "tests/test_loss_properties.py",
               "tests/test_losses.py", "tests/methods/test_laws.py"),
        numbers=(
            Number(what="losses", least=16),
            Number(what="examples of a property", least=300, of="least"),
        ),
    ),
    Promise(
        code="P11",
        sentence="Gradients are right.",
        tests=(
            "tests/test_every_loss.py",
            "tests/test_loss_properties.py",
            "tests/methods/test_laws.py::"
            "test_law_10_the_gradient_is_that_of_central_differences",
        ),
        numbers=(Number(what="gradient draws", least=50, of="least"),),
    ),
    Promise(
        code="P12",
        sentence="We match the published methods.",
        tests=(
            "tests/parity",
            "tests/test_golden.py",
            "tests/methods/test_equations.py",
            "tests/methods/test_more_equations.py",
            "tests/methods/test_online_equations.py",
            "tests/methods/test_users.py",
        ),
        numbers=(
            Number(what="steps against released scripts", least=10,
                   each="test_a_step_costs_what_the_released_script_says"),
        ),
    ),
    Promise(
        code="P13",
        sentence="Accumulation, checkpointing and precision do not bend the curve.",
        tests=("tests/run/test_equivalence.py", "tests/run/test_recall.py"),
        numbers=(Number(what="equivalent settings", least=8),),
    ),
    Promise(
        code="P14",
        sentence="NaN stops before your weights change.",
        tests=("tests/run/test_nan.py", f"{_FAULTY}",),
        numbers=(Number(what="injections", least=6),),
    ),
    Promise(
        code="P15",
        sentence="Preemption is a pause: exit 75, then the same run.",
        tests=(
            f"{_CLI_RESUME}::"
            "test_asked_to_stop_in_any_phase_it_saves_exits_75_and_finishes_as_if_never_asked",
            "tests/train/test_store_signals.py",
        ),
        numbers=(Number(what="phases", least=10),),
    ),
    Promise(
        code="P16",
        sentence="The LoRA is the one you trained.",
        tests=("tests/export", "tests/models/test_lora_layouts.py",
               "tests/models/test_lora_refused.py"),
        numbers=(
            Number(what="forms opened by stock code, by forward", least=4,
                   each="test_every_form_is_the_trained_network_in_stock_code_and_names_nobody"),
            Number(what="kinds of LoRA read by stock diffusers", least=2,
                   each="test_stock_diffusers_reads_our_file_as_the_trained_network"),
            Number(what="families with the recorded kohya names", least=2,
                   each="test_every_name_of_the_published_networks_is_the_recorded_one"),
        ),
    ),
    Promise(
        code="P17",
        sentence="Scores reproduce.",
        tests=("tests/rewards/test_scorers.py", "tests/rewards/test_score_matrix.py",
               "tests/rewards/test_sight.py", "tests/rewards/test_golden_machinery.py"),
        numbers=(
            Number(what="scorers x batches", least=20,
                   each="test_results_keep_the_order_and_do_not_depend_on_the_batch"),
        ),
    ),
)  # fmt: skip

PEOPLE = (
    Promise(
        code="P18",
        sentence="Your taste stays on your machine.",
        tests=("tests/run/test_privacy.py", _PROFILE, "tests/cli/test_profile.py",
               "tests/rate/test_book.py", "tests/export/test_push.py"),
        numbers=(Number(what="canaries looked for", least=20),),
    ),
    Promise(
        code="P19",
        sentence="The rating page is safe on localhost and loses no click.",
        tests=("tests/rate/test_hostile.py", "tests/rate/test_kill.py",
               "tests/rate/test_session.py::test_many_answers_at_once_are_one_line_each"),
        numbers=(
            Number(what="hostile requests refused", least=40,
                   each="test_a_hostile_request_is_refused_and_writes_nothing"),
            Number(what="kills of the rating page", least=50),
            Number(what="answers given at once", least=1000),
        ),
    ),
    Promise(
        code="P20",
        sentence="Too little memory is handled; the batch stays.",
        tests=(_FAULTY,),
        numbers=(Number(what="out-of-memory points with equal gradients", least=6),),
    ),
    Promise(
        code="P21",
        sentence="Every error tells you what to do.",
        tests=("tests/cli/test_errors.py", "tests/cli/test_main.py", "tests/cli/test_plain.py"),
        numbers=(
            Number(what="errors that name their next action", least=500),
            Number(what="exit codes", least=13),
            Number(what="reason codes", least=51),
        ),
    ),
    Promise(
        code="P22",
        sentence="Old runs keep opening.",
        tests=("tests/old",),
        numbers=(
            Number(what="old files opened", least=6),
            Number(what="later formats refused", least=6),
        ),
    ),
    Promise(
        code="P23",
        sentence="Help is instant, the command line is stable.",
        tests=(
            "tests/test_house.py::test_help_imports_neither_torch_nor_any_library_worth_noticing",
            "tests/test_house.py::test_the_help_of_every_verb_imports_no_torch",
            "tests/cli/test_errors.py",
        ),
        numbers=(Number(what="options", least=300),),
    ),
)  # fmt: skip

PROMISES = (*CHECKPOINTS, *INPUTS, *NUMBERS, *PEOPLE)

NOT_PROMISED = (
    "Object stores and file systems whose rename is not atomic, and network file systems that "
    "lie about fsync.",
    "A manifest that somebody changed on purpose: SHA-256 shows damage, it is no signature.",
    "That trained weights forget a person: deleting a profile deletes the file, not what a model "
    "learned from it.",
    "Bit-identity on a GPU, or between machines, builds of torch or numbers of threads. There the "
    "order of the data and the noise are the same, and losses agree within rounding.",
    "Power cuts are a model of the disk here; SIGKILL does not test them. No failure in 200 random "
    "kills bounds the rate of failures at 1.5 % (95 %): the enumeration of every file operation "
    "is the real argument.",
    "Tar shards: diffpref reads none, so that none are fuzzed.",
)
