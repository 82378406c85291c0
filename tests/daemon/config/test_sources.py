"""Where the configuration comes from: no file, a file found in one of three places, and the environment over it."""

from pathlib import Path

import pytest

from reportd.config import Config, ConfigError, find_file, load
from tests.wording import mentions

HOME = {"HOME": "/home/ada"}


@pytest.fixture(autouse=True)
def default_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The stand-in for /etc/reportd/reportd.toml. It exists only if a test writes it."""
    path = tmp_path / "etc" / "reportd.toml"
    monkeypatch.setattr("reportd.config.file.DEFAULT_PATH", path)
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def bound(port: int) -> str:
    return f'http.bind = "127.0.0.1:{port}"'


# The file


def test_no_file_at_all_is_the_defaults() -> None:
    config = load(None, HOME)
    assert config == Config(data_dir=Path("/home/ada/.local/share/reportd"))
    assert find_file(None, HOME) is None


def test_the_default_place_is_in_etc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    from reportd.config import file

    assert Path("/etc/reportd/reportd.toml") == file.DEFAULT_PATH


def test_the_default_place_is_read_if_there_is_a_file(default_path: Path) -> None:
    write(default_path, bound(1))
    assert load(None, HOME).http.port == 1
    assert find_file(None, HOME) == default_path


def test_the_variable_goes_before_the_default_place(tmp_path: Path, default_path: Path) -> None:
    write(default_path, bound(1))
    named = write(tmp_path / "named.toml", bound(2))
    environ = {**HOME, "REPORTD_CONFIG": str(named)}
    assert load(None, environ).http.port == 2
    assert find_file(None, environ) == named


def test_an_empty_variable_names_no_file(default_path: Path) -> None:
    write(default_path, bound(1))
    assert load(None, {**HOME, "REPORTD_CONFIG": ""}).http.port == 1


def test_the_option_goes_before_the_variable(tmp_path: Path) -> None:
    named = write(tmp_path / "named.toml", bound(2))
    given = write(tmp_path / "given.toml", bound(3))
    assert load(given, {**HOME, "REPORTD_CONFIG": str(named)}).http.port == 3


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "missing.toml"
    for given, environ in ((path, HOME), (None, {**HOME, "REPORTD_CONFIG": str(path)})):
        with pytest.raises(ConfigError) as caught:
            load(given, environ)
        assert mentions(str(caught.value), f"{path}: ", "No such file", "accepted: ", "--config", "$REPORTD_CONFIG")


def test_an_unreadable_default_file_is_not_ignored(default_path: Path) -> None:
    default_path.parent.symlink_to(default_path.parent)
    with pytest.raises(ConfigError, match="can't be read"):
        load(None, HOME)


def test_a_dangling_link_in_the_default_place_is_not_ignored(default_path: Path) -> None:
    default_path.parent.mkdir()
    default_path.symlink_to("nowhere")
    with pytest.raises(ConfigError, match="can't be read"):
        load(None, HOME)


# The environment


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "reportd.toml", f'{bound(1)}\nhttp.max_body_bytes = 2048\n[log]\nlevel = "error"')
    config = load(file, {**HOME, "REPORTD_HTTP__BIND": "127.0.0.1:2", "REPORTD_POOL__BROWSERS": "7"})
    assert (config.http.port, config.http.max_body_bytes) == (2, 2048)
    assert (config.log.level, config.pool.browsers) == ("error", 7)


def test_a_valid_variable_hides_the_files_fault(tmp_path: Path) -> None:
    file = write(tmp_path / "reportd.toml", "http.bind = 5")
    assert load(file, {**HOME, "REPORTD_HTTP__BIND": "127.0.0.1:2"}).http.port == 2


def test_only_the_given_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere/else")
    monkeypatch.setenv("REPORTD_HTTP__BIND", "127.0.0.1:9")
    monkeypatch.setenv("STATE_DIRECTORY", "/somewhere/else")
    config = load(None, HOME)
    assert config.http.port == 8080
    assert config.data_dir.is_relative_to("/home/ada")
    assert not load(None, {}).data_dir.is_relative_to("/somewhere/else")


# The data folder


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({}, "/home/ada/.local/share/reportd"),
        ({"XDG_DATA_HOME": "/data"}, "/data/reportd"),
        ({"XDG_DATA_HOME": "data"}, "/home/ada/.local/share/reportd"),
        ({"XDG_DATA_HOME": "/data", "STATE_DIRECTORY": "/var/lib/reportd:/var/lib/more"}, "/var/lib/reportd"),
        ({"STATE_DIRECTORY": "/var/lib/reportd", "REPORTD_DATA_DIR": "/srv/reports"}, "/srv/reports"),
        ({"REPORTD_DATA_DIR": "~/reports"}, "/home/ada/reports"),
        ({"REPORTD_DATA_DIR": "~"}, "/home/ada"),
    ],
)
def test_where_data_goes(environ: dict[str, str], folder: str) -> None:
    assert load(None, {**HOME, **environ}).data_dir == Path(folder)


@pytest.mark.parametrize(("given", "folder"), [(".", ""), ("a/b", "a/b")])
def test_a_relative_data_folder_starts_at_the_current_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str, folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path / "etc" / "reportd.toml", f'data_dir = "{given}"')
    assert load(file, HOME).data_dir == tmp_path / folder


def test_an_empty_data_folder_is_the_default_one(tmp_path: Path) -> None:
    assert load(write(tmp_path / "reportd.toml", 'data_dir = ""'), HOME) == load(None, HOME)


def test_another_users_home_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"REPORTD_DATA_DIR: data_dir: can't be resolved.*accepted: an absolute path"):
        load(None, {**HOME, "REPORTD_DATA_DIR": "~bob/reports"})


def test_without_a_home_a_data_folder_must_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> None:
        raise KeyError("no such user")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(ConfigError, match="data_dir: can't be resolved"):
        load(None, {})
    assert load(None, {"REPORTD_DATA_DIR": "/srv"}).data_dir == Path("/srv")


def test_paths_and_urls_are_resolved_against_the_data_folder() -> None:
    config = load(None, {"REPORTD_DATA_DIR": "/srv"})
    assert config.database.sqlite_path(config.data_dir) == Path("/srv/reportd.db")
    assert config.artifacts.folder(config.data_dir) == Path("/srv/artifacts")
    config = load(
        None,
        {
            "REPORTD_DATA_DIR": "/srv",
            "REPORTD_DATABASE__URL": "sqlite:////var/db/jobs.db",
            "REPORTD_ARTIFACTS__URL": "file:///var/pdf",
        },
    )
    assert config.database.sqlite_path(config.data_dir) == Path("/var/db/jobs.db")
    assert config.artifacts.folder(config.data_dir) == Path("/var/pdf")
    assert config.artifacts.bucket() is None
    config = load(
        None,
        {**HOME, "REPORTD_DATABASE__URL": "postgresql://db/jobs", "REPORTD_ARTIFACTS__URL": "s3://reports/pdf/out/"},
    )
    assert config.database.sqlite_path(config.data_dir) is None
    assert config.artifacts.folder(config.data_dir) is None
    assert config.artifacts.bucket() == ("reports", "pdf/out")


# The file of tokens


def test_a_systemd_credential_is_the_token_file_unless_one_is_named(tmp_path: Path) -> None:
    environ = {"REPORTD_DATA_DIR": "/srv", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert load(None, environ).auth.path(Path("/srv")) is None
    (tmp_path / "tokens").write_text("")
    assert load(None, environ).auth.path(Path("/srv")) == tmp_path / "tokens"
    file = write(tmp_path / "reportd.toml", 'auth.tokens_file = ""')
    assert load(file, environ).auth.path(Path("/srv")) == tmp_path / "tokens"
    named = load(None, {**environ, "REPORTD_AUTH__TOKENS_FILE": "own"})
    assert named.auth.path(Path("/srv")) == Path("/srv/own")
    faulty = write(tmp_path / "faulty.toml", "auth.tokens_file = 0")
    with pytest.raises(ConfigError, match="has the wrong type"):
        load(faulty, environ)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("DATABASE__URL", "sqlite:///", "is not sqlite:/// and the path of a file"),
        ("DATABASE__URL", "sqlite:///:memory:", "is not sqlite:/// and the path of a file"),
        ("DATABASE__URL", "sqlite://jobs.db", "is not sqlite:/// and the path of a file"),
        ("DATABASE__URL", "mysql://db/jobs", "does not begin with postgresql://"),
        ("DATABASE__URL", "postgresql://ada:12/34@db/jobs", "has an @ outside its host part"),
        ("QUEUE__URL", "sqs:reports", "does not begin with http:// or https://"),
        ("ARTIFACTS__URL", "artifacts", "does not begin with s3://"),
        ("ARTIFACTS__URL", "file:", "names no folder"),
        ("ARTIFACTS__URL", "file://host/pdf", "names a host; write file:FOLDER or file:///FOLDER"),
        ("ARTIFACTS__URL", "s3://Bucket_1/pdf", "does not name a bucket"),
        ("ARTIFACTS__URL", "s3://bucket/?a=b", "does not name a bucket"),
        ("ARTIFACTS__REGION", "EU West", "is not the name of a region"),
        ("BREAKER__STORE", "redis:6379", "does not begin with redis:// or rediss://"),
        ("ALERTS__WEBHOOK_URL", "alerts.test", "does not begin with http:// or https://"),
        ("ALERTS__SNS_TOPIC_ARN", "arn:aws:sqs:eu-west-1:123456789012:a", "is not such an ARN"),
        ("CALLBACKS__SECRET", "whsec_QUJD", "holds too few or too many bytes"),
        ("CALLBACKS__SECRET", "whsec_%", "is not base64"),
    ],
)
def test_an_invalid_location_is_refused(key: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {**HOME, f"REPORTD_{key}": value})
    assert caught.value.problems[0].message.startswith(said)
    assert "; accepted: " in caught.value.problems[0].message
