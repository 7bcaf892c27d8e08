"""What the commands print and the exit codes that scripts rely on, through the real entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from finetune_api.trainer_contract import TrainerConfig
from finetune_cli.errors import Exit
from finetune_cli.running.lock import RunLock

CONTRACT = Path(__file__).parents[2] / "contract"
SUPPORTED = "01-lora-sft.yaml"
GOLDEN = Path(__file__).parent / "golden"
SMALLEST = """\
apiVersion: finetune.dev/v1alpha1
kind: FineTuneJob
metadata: {name: smallest}
spec:
  model: {claim: {name: models, path: m}}
  dataset: {sources: [{claim: {name: datasets, path: d.jsonl}}]}
  compute: {gpusPerNode: 0}
"""


def finetune(*arguments: str, given: str = "", at: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "finetune_cli", *arguments],
        input=given, capture_output=True, text=True, cwd=at, timeout=120, check=False,
    )  # fmt: skip


def test_every_contract_manifest_is_valid_and_only_what_is_not_yet_supported_is_said() -> None:
    ended = finetune("validate", *map(str, sorted(CONTRACT.glob("*.yaml"))))

    said = ended.stderr.splitlines()
    assert all("not yet supported" in line for line in said), said
    assert f"{CONTRACT / SUPPORTED}: FineTuneJob python-coder is valid" in ended.stdout
    assert ended.returncode == (Exit.INVALID if said else Exit.SUCCEEDED)


def test_every_problem_is_said_with_line_field_and_mend() -> None:
    wrong = SMALLEST.replace("gpusPerNode: 0", "gpusPerNod: 0, cpu: 2") + "  method: sft\n"

    ended = finetune("validate", "-", given=wrong)

    assert ended.returncode == Exit.INVALID
    lines = ended.stderr.splitlines()
    assert any(line.startswith("<stdin>:7: spec.compute.gpusPerNod:") and "gpusPerNode" in line for line in lines)
    assert any(line.startswith("<stdin>:7: spec.compute.cpu: must be a string") for line in lines)
    assert any(line.startswith("<stdin>:8: spec.method:") and "write SFT" in line for line in lines)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("kind: FineTuneJob", "kind: FinetuneJob", '<stdin>:2: kind: "FinetuneJob" is not known: write FineTuneJob\n'),
        (
            "v1alpha1",
            "v1beta1",
            '<stdin>:1: apiVersion: "finetune.dev/v1beta1" is not known: write finetune.dev/v1alpha1\n',
        ),
        ("{name: smallest}", "{name: llama-3.2}", "(llama-3-2, not llama-3.2)"),
        (
            "gpusPerNode: 0",
            "gpusPerNode: many",
            '<stdin>:7: spec.compute.gpusPerNode: must be a whole number, not "many"',
        ),
    ],
)
def test_a_wrong_value_is_shown_with_what_to_write(right: str, wrong: str, said: str) -> None:
    ended = finetune("validate", "-", given=SMALLEST.replace(right, wrong))

    assert ended.returncode == Exit.INVALID
    assert said in ended.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty.yaml", "empty.yaml: holds no object: write apiVersion, kind, metadata and spec"),
        ("directory", "directory: cannot be read (Is a directory): give the path of a manifest"),
        ("missing.yaml", "missing.yaml: cannot be read (No such file or directory)"),
        ("list.json", "list.json:1: is no FineTuneJob: write an object with apiVersion, kind, metadata and spec"),
    ],
)
def test_what_is_no_manifest_is_said(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").touch()
    (tmp_path / "directory").mkdir()
    (tmp_path / "list.json").write_text("[1]")

    ended = finetune("validate", name, at=tmp_path)

    assert ended.returncode == Exit.INVALID
    assert said in ended.stderr


def test_a_broken_file_does_not_hide_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "good.yaml").write_text(SMALLEST)

    ended = finetune("validate", "broken.yaml", "good.yaml", at=tmp_path)

    assert ended.returncode == Exit.INVALID
    assert "broken.yaml:1: is no YAML" in ended.stderr
    assert "good.yaml: FineTuneJob smallest is valid" in ended.stdout


def test_other_objects_of_a_file_are_named_and_left_alone() -> None:
    ended = finetune("validate", "-", given=f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\n---\n{SMALLEST}")

    assert ended.returncode == Exit.SUCCEEDED
    assert "ConfigMap c is not ours" in ended.stdout


def test_render_prints_what_the_operator_would_create() -> None:
    ended = finetune("render", str(CONTRACT / SUPPORTED))

    assert ended.returncode == Exit.SUCCEEDED, ended.stderr
    documents = list(yaml.safe_load_all(ended.stdout))
    assert [document["kind"] for document in documents] == ["NetworkPolicy", "Job"]
    assert documents[-1]["metadata"]["name"] == "python-coder-1"
    assert "#   learningRate 0.0002: the usual one for SFT with LoRA" in ended.stdout


@pytest.mark.parametrize(
    ("name", "manifest"),
    [("contract-01", CONTRACT / SUPPORTED), ("two-nodes-cpu", GOLDEN / "two-nodes-cpu.job.yaml")],
)
def test_what_render_prints_is_as_it_was_looked_at(name: str, manifest: Path) -> None:
    """To accept a change: delete the file, run the test twice, and look at the difference."""
    ended = finetune("render", str(manifest))

    assert ended.returncode == Exit.SUCCEEDED, ended.stderr
    path = GOLDEN / f"{name}.yaml"
    if not path.exists():
        path.write_text(ended.stdout)
        pytest.fail(f"{path.name} was not there and is written now: look at it")
    assert ended.stdout == path.read_text()


def test_the_configuration_that_render_shows_is_the_one_that_the_pod_gets() -> None:
    text = (GOLDEN / "two-nodes-cpu.yaml").read_text()
    shown = text.split("# FINETUNE_CONFIG below is the base64 of:\n")[1].split("---\n")[0]
    (job,) = (document for document in yaml.safe_load_all(text) if document["kind"] == "Job")
    (carried,) = (
        variable["value"]
        for variable in job["spec"]["template"]["spec"]["containers"][0]["env"]
        if variable["name"] == "FINETUNE_CONFIG"
    )

    config = TrainerConfig.decode(carried)

    assert TrainerConfig.model_validate(yaml.safe_load(shown.replace("# ", "", 1).replace("\n# ", "\n"))) == config
    assert (config.world.nodes, config.world.device) == (2, "CPU")


def test_render_says_when_the_size_of_the_claim_is_missing_and_makes_it_otherwise() -> None:
    assert "The claim is left out" in finetune("render", "-", given=SMALLEST).stdout

    ended = finetune("render", "-", given=SMALLEST + "  storage: {size: 5Gi}\n")

    claim = next(yaml.safe_load_all(ended.stdout))
    assert claim["kind"] == "PersistentVolumeClaim"
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "-", "--claim", "models=.", "--claim", "datasets=gone"], Exit.CANNOT_START, "there is no directory"),
        (["run", "-", "--claim", "models=."], Exit.CANNOT_START, "add --claim datasets=DIR"),
        (["run", "-", "--claim", "models=.", "--claim", "dataset=."], Exit.USAGE, "the job does not use dataset"),
        (["run", "-", "--claim", "models"], Exit.USAGE, "is not NAME=DIR"),
        (["run", "none.yaml"], Exit.INVALID, "No such file"),
        (["run", "-", "--job", "other"], Exit.INVALID, "the jobs there are smallest"),
        (["walk"], Exit.USAGE, "No such command"),
    ],
)
def test_what_keeps_a_run_from_starting_has_its_own_exit_code(
    arguments: list[str], code: Exit, said: str, tmp_path: Path
) -> None:
    ended = finetune(*arguments, given=SMALLEST, at=tmp_path)

    assert ended.returncode == code
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_job_that_asks_for_what_is_not_there_yet_is_refused_before_it_starts(tmp_path: Path) -> None:
    ended = finetune("run", "-", given=SMALLEST + "  method: DPO\n", at=tmp_path)

    assert ended.returncode == Exit.INVALID
    assert "spec.method" in ended.stderr
    assert not (tmp_path / "out").exists()


def test_version_names_the_api() -> None:
    assert "finetune.dev/v1alpha1" in finetune("version").stdout


def test_nothing_heavy_is_loaded_for_version() -> None:
    program = (
        "import sys\nfrom finetune_cli.__main__ import app\nfrom typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['version']).exit_code == 0\n"
        "print(*sorted({'torch', 'aiohttp', 'kopf', 'yaml', 'finetune_api.v1alpha1.spec'} & set(sys.modules)))"
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ended.stdout.strip() == ""


@pytest.mark.parametrize("field", ["suspend", "cancel"])
def test_a_manifest_that_asks_for_no_training_is_left_so(field: str, tmp_path: Path) -> None:
    given = SMALLEST + f"  {field}: true\n"

    ended = finetune("run", "-", "--claim", "models=.", "--claim", "datasets=.", given=given, at=tmp_path)

    assert ended.returncode == Exit.NOT_FINISHED, ended.stderr
    assert f"the manifest says {field}: true" in ended.stdout
    assert not list(tmp_path.glob("out/.finetune/smallest/smallest-*.log"))


def test_a_second_run_of_the_same_job_is_told_who_runs_it(tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "out" / ".finetune" / "smallest" / "lock")
    lock.take(print)

    ended = finetune("run", "-", "--claim", "models=.", "--claim", "datasets=.", given=SMALLEST, at=tmp_path)

    assert ended.returncode == Exit.CANNOT_START
    assert f"process {os.getpid()} runs this job" in ended.stderr
