"""`momus calibrate`: measure a critic's dial on code of the user's choice."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from momus.cli.shared.seed import Seed


def command(
    paths: Positional[list[Path]],
    out: Path = Path("calibration.json"),
    tampers: Path | None = None,
    model: str | None = None,
    url: str | None = None,
    rules: Path | None = None,
    samples: int | None = None,
    reward: Path | None = None,
    reward_url: str | None = None,
    reward_tokenizer: str | None = None,
    answers: int = 300,
    seed: Seed = 0,
) -> int:
    """Measure what a critic's dial promises: false comments per clean answer against bugs caught, at every setting.

    The result is for `momus review --calibration FILE --false-alarms 0.2`, which then comments as freely as it can
    while keeping to at most so many false comments per clean function on code like that measured on.

    Args:
        paths: Python files and directories taken to be free of bugs: half of their functions get some. By default
            the standard library's modules that the shipped critic never saw.
        out: Where the operating points go.
        tampers: JSON Lines of Tamper records with known bugs, and clean ones, in place of inserting any.
        model: A critic's directory; or a model that chats: its directory, GGUF file or name on the hub, with --url its
            name on the server. The shipped critic by default.
        url: A server with an OpenAI-compatible or Anthropic-style API; its key is read from MOMUS_API_KEY.
        rules: A file with the house's own rules, for a model that chats.
        samples: Reviews by a model that chats of each function: with more than one, the dial is the share that must
            agree on a line. By default one, at temperature 0.
        reward: Directory of a reward model: the critic then searches (Force Sampling Beam Search), and its dial is the
            length modifier. Without one it reviews several times, and its dial is the share that must agree.
        reward_url: The base URL of a server with a reward model, in place of a directory.
        reward_tokenizer: Directory or name of that model's tokenizer, if it does not read the critic's tokens.
        answers: How many answers to measure on, at most.
        seed: Decides which answers and bugs.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from momus.cli.shared.output import check_file
    from momus.cli.shared.prompting import read_prompting
    from momus.critics.open import open_critic
    from momus.errors import UserError
    from momus.evaluate.critics.calibration import calibrate
    from momus.files import write_text
    from momus.review.answers import answers as gather
    from momus.review.render import print_calibration, print_skipped
    from momus.search.result import RewardSource

    if answers < 2:
        raise UserError(f"--answers {answers}: must be at least 2")
    check_file(out)
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no directory {out.parent}")
    source = RewardSource(reward, reward_url, reward_tokenizer)
    critic = open_critic(model, source, url=url, prompted=read_prompting(rules, samples))
    known, data, skipped = gather(paths, tampers, critic, answers, seed)
    console = Console(stderr=True)
    print_skipped(skipped, console)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("Answers", total=len(known))
        measured = calibrate(
            critic,
            known,
            data,
            inserted=tampers is None,
            progress=lambda done, total: bars.update(bar, completed=done, total=total),
        )
    write_text(out, measured.model_dump_json(indent=1) + "\n")
    print_calibration(measured, Console())
    console.print(f"The operating points are in {out}", markup=False, highlight=False, soft_wrap=True)
    return 0
