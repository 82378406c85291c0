"""Pages of servers whose certificate an authority of the operator's own has signed (``pool.ca_file``)."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from reportd.adapters.chromium import ChromiumSettings, open_launcher
from reportd.core.faults import Fault, FaultKind
from reportd.ports import BrowserError
from tests.servers.authority import Authority, open_secure_site
from tests.servers.chromium import Stage, fault_of, on_stage, open_stage, request, text_of
from tests.wording import mentions

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module", params=[False, True], ids=["browser", "container"])
def stage(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, request: pytest.FixtureRequest
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("chromium")
    with open_stage(folder, ChromiumSettings(ca_file=authority.file), container=request.param) as opened:
        yield opened


async def fault_at(stage: Stage, context: ssl.SSLContext) -> Fault:
    async with open_secure_site(context, {"/": "<p>secret"}) as site, stage.page() as page:
        fault = await fault_of(page, request(url=f"{site}/?token=secret"))
        assert fault is not None
        assert "secret" not in fault.detail
        return fault


@on_stage
async def test_a_page_of_the_operators_own_authority_is_printed(stage: Stage, authority: Authority) -> None:
    async with open_secure_site(authority.server(), {"/": "<p>ours"}) as site, stage.page() as page:
        assert text_of(await page.render(request(url=f"{site}/"))) == "ours"


@on_stage
async def test_its_certificates_are_checked_like_any_other(stage: Stage, authority: Authority) -> None:
    fault = await fault_at(stage, authority.server("127.0.0.2"))
    assert fault.kind is FaultKind.CERTIFICATE_INVALID
    assert mentions(fault.detail, "ERR_CERT_COMMON_NAME_INVALID", "other names")
    fault = await fault_at(stage, authority.server(expired=True))
    assert fault.kind is FaultKind.CERTIFICATE_INVALID
    assert mentions(fault.detail, "ERR_CERT_DATE_INVALID", "renew it")


@on_stage
async def test_nobody_else_is_trusted_even_if_he_sends_the_authoritys_certificate_along(
    stage: Stage, authority: Authority, tmp_path: Path
) -> None:
    fault = await fault_at(stage, Authority(tmp_path, "Others").server(chain=(authority.certificate,)))
    assert fault.kind is FaultKind.CERTIFICATE_INVALID
    assert mentions(fault.detail, "could not be opened: net::ERR_CERT_AUTHORITY_INVALID; ", "pool.ca_file")


async def test_a_file_without_an_authority_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(BrowserError, match=r"^pool\.ca_file: .*ca\.pem: holds no certificate in PEM$"):
        async with open_launcher(
            ChromiumSettings(ca_file=tmp_path / "ca.pem"), tmp_path, lambda _address, _port: False
        ):
            pass
