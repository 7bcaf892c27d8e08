"""What a kubeconfig's login program gives, with a real program; no server is asked."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune_operator.errors import CredentialsError
from finetune_operator.kube.credentials import Credentials, find

PROGRAM = """\
import json, os, pathlib, sys
asked = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
calls = pathlib.Path(sys.argv[1])
calls.write_text(calls.read_text() + "x" if calls.exists() else "x")
token = f"{os.environ['WHO']}-{len(calls.read_text())}"
status = {"token": token, "expirationTimestamp": sys.argv[2]} if sys.argv[2] else {"token": token}
print(json.dumps({"apiVersion": asked["apiVersion"], "kind": asked["kind"], "status": status}))
"""


def logging_in(at: Path, expires: str = "", command: str = sys.executable) -> Credentials:
    """Credentials of a kubeconfig whose user logs in with a program that counts its calls in its token."""
    program = at / "login.py"
    program.write_text(PROGRAM)
    login = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": command,
        "args": [str(program), str(at / "calls"), expires],
        "env": [{"name": "WHO", "value": "ada"}],
    }
    document: dict[str, Any] = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:1/"}}],
        "users": [{"name": "u", "user": {"exec": login}}],
    }
    path = at / "config"
    path.write_text(yaml.safe_dump(document))
    return find(path)


def at(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("expires", ["", at(3600)], ids=["for good", "for an hour"])
async def test_a_login_program_is_asked_once_while_its_token_is_good(expires: str, tmp_path: Path) -> None:
    credentials = logging_in(tmp_path, expires)

    assert (credentials.server, credentials.inside) == ("https://127.0.0.1:1", False)
    assert [await credentials.token() for _ in range(3)] == ["ada-1"] * 3


async def test_a_token_that_the_server_refused_is_got_anew(tmp_path: Path) -> None:
    credentials = logging_in(tmp_path)
    await credentials.token()

    credentials.refused()

    assert await credentials.token() == "ada-2"


@pytest.mark.parametrize("command", ["no-such-program", "false"])
async def test_a_login_program_that_gives_no_token_is_named(command: str, tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match=f"login program {command} gave no token"):
        await logging_in(tmp_path, command=command).token()


def test_a_kubeconfig_without_its_user_says_what_to_do(tmp_path: Path) -> None:
    logging_in(tmp_path)
    path = tmp_path / "config"
    path.write_text(json.dumps({**yaml.safe_load(path.read_text()), "users": []}))

    with pytest.raises(CredentialsError, match="kubectl config use-context"):
        find(path)
