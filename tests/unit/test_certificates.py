"""Certificate files: what is not taken, and what `datastore tls check` says of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import BasicConstraints, CertificateBuilder, load_pem_x509_certificate, random_serial_number

from datastore.model.errors import ConfigError
from datastore_client.tls import Credentials, TlsFiles
from datastore_server.certificates.authority import Authority, Pair, new_authority
from datastore_server.certificates.files import look_at_files
from tests.support.certificates import HOSTS, Files, write_files, write_pair


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return write_files(tmp_path / "tls")


def encrypted(pem: bytes) -> bytes:
    """A private key with a password."""
    key = load_pem_private_key(pem, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


def test_a_change_is_taken_when_all_files_are_valid_again(files: Files) -> None:
    found = files.server(mutual=True)
    before = found.reload()
    assert before == (files.ca.read_bytes(), files.cert.read_bytes(), files.key.read_bytes())
    pair = new_authority("other").server("server", HOSTS)
    files.key.write_bytes(pair.key)
    assert found.reload() is before
    files.cert.write_bytes(pair.cert[:200])
    assert found.reload() is before
    files.cert.write_bytes(pair.cert)
    assert found.reload()[1:] == (pair.cert, pair.key)


def test_channels_get_other_credentials_only_after_a_change(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datastore_client.reloading.CHECK_S", 0.0)
    credentials = Credentials(ca=files.ca)
    first = credentials.for_channels()
    assert credentials.for_channels() is first
    files.ca.write_bytes(new_authority("other").pair.cert)
    second = credentials.for_channels()
    assert second is not first
    assert credentials.for_channels() is second


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("ca", None, "ca.pem: cannot read this file: No such file"),
        ("ca", lambda pem: b"", r"ca.pem: not certificates in PEM"),
        ("ca", lambda pem: b"\xff", r"ca.pem: not certificates in PEM"),
        ("ca", lambda pem: pem[:300], r"ca.pem: not certificates in PEM"),
        ("cert", None, "s.pem: cannot read this file: No such file"),
        ("cert", lambda pem: pem[:300], "s.pem and .*s-key.pem: not a certificate and a key in PEM"),
        ("key", lambda pem: b"key", "s.pem and .*s-key.pem: not a certificate and a key in PEM"),
        ("key", lambda pem: new_authority("x").pair.key, "s-key.pem is not the key of the certificate .*s.pem"),
        ("key", encrypted, "s-key.pem: the private key is encrypted"),
    ],
)
def test_files_that_are_not_valid_are_named(files: Files, name: str, change: object, problem: str) -> None:
    path = getattr(files, name)
    if callable(change):
        path.write_bytes(change(path.read_bytes()))
    else:
        path.unlink()
    with pytest.raises(ConfigError, match=problem) as caught:
        files.server(mutual=True)
    assert "secret" not in str(caught.value)


def test_a_certificate_needs_its_key(files: Files) -> None:
    for given in ({"cert": files.cert}, {"key": files.key}):
        with pytest.raises(ConfigError, match="given together"):
            TlsFiles(**given)


def test_nothing_is_wrong_with_new_certificates(files: Files) -> None:
    for host in (*HOSTS, "LOCALHOST", "0:0:0:0:0:0:0:1"):
        report = look_at_files(files.cert, files.key, ca=files.ca, host=host)
        assert report.problems == report.expiring == ()
        assert (report.certificate or "").startswith(
            "'server', for localhost, 127.0.0.1, ::1; signed by 'test'; valid until 20"
        )
    assert look_at_files(files.client_cert, files.client_key, ca=files.ca, is_client=True).problems == ()


@pytest.mark.parametrize(
    ("hosts", "days", "given", "problem"),
    [
        (HOSTS, -1, {}, "the certificate of 'server' expired on 20"),
        (["db1.example.org"], 10, {"host": "db2.example.org"}, "it is not for db2.example.org: .* are db1.example.org"),
        (["*.example.org"], 10, {"host": "a.b.example.org"}, r"it is not for a.b.example.org: .* are \*.example.org"),
        (["127.0.0.1"], 10, {"host": "127.0.0.2"}, "it is not for 127.0.0.2"),
        ([], 10, {"host": "db1"}, "it names no host: .* the common name does not count"),
    ],
)
def test_a_certificate_that_clients_would_refuse_says_why(
    tmp_path: Path, hosts: list[str], days: float, given: dict[str, str], problem: str
) -> None:
    authority = new_authority("test")
    files = write_files(tmp_path, authority)
    write_pair(authority.server("server", hosts, days=days), files.cert, files.key)
    (found,) = look_at_files(files.cert, files.key, ca=files.ca, **given).problems
    assert re.search(problem, found), found


def test_a_wildcard_is_for_one_label(tmp_path: Path) -> None:
    authority = new_authority("test")
    files = write_files(tmp_path, authority)
    write_pair(authority.server("server", ["*.example.org"]), files.cert, files.key)
    assert look_at_files(files.cert, host="db1.example.org").problems == ()
    for host in ("example.org", ".example.org", "a.b.example.org"):
        assert look_at_files(files.cert, host=host).problems != ()


@pytest.mark.parametrize(
    ("cert", "key", "given", "problems"),
    [
        ("client_cert", "client_key", {}, ["it is not for a server: its extended key usage lacks serverAuth"]),
        ("cert", "client_key", {}, ["c-key.pem is not the key of this certificate"]),
        ("cert", "ca", {}, ["ca.pem: there is no private key in PEM"]),
        ("key", "key", {}, ["s-key.pem: there is no certificate in PEM"]),
        ("ca", None, {}, ["it is the certificate of an authority"]),
        ("cert", "missing", {}, ["missing: cannot read this file: No such file"]),
        ("missing", None, {}, ["missing: cannot read this file: No such file"]),
        ("cert", None, {"ca": "missing"}, ["missing: cannot read this file: No such file"]),
        ("cert", None, {"ca": "cert"}, ["'test', which is not trusted; the authorities are 'server'"]),
    ],
)
def test_the_wrong_file_in_a_place_says_so(
    files: Files, cert: str, key: str | None, given: dict[str, str], problems: list[str]
) -> None:
    def path(name: str) -> Path:
        return getattr(files, name, files.ca.parent / name)

    named = {name: path(file) for name, file in given.items()}
    found = look_at_files(path(cert), None if key is None else path(key), **named).problems
    assert len(found) == len(problems)
    assert all(part in text for part, text in zip(problems, found, strict=True)), found


def test_another_authority_of_the_same_name_is_told_apart(files: Files) -> None:
    files.ca.write_bytes(new_authority("test").pair.cert)
    (found,) = look_at_files(files.cert, ca=files.ca).problems
    assert found == "'test', which has signed it, is not the trusted authority of that name"


def test_a_key_that_is_encrypted_or_readable_by_others_is_named(files: Files) -> None:
    files.key.chmod(0o640)
    (found,) = look_at_files(files.cert, files.key).problems
    assert found == f"{files.key} can be read by other users: chmod 600 {files.key}"
    files.key.write_bytes(encrypted(files.key.read_bytes()))
    assert "the private key is encrypted" in look_at_files(files.cert, files.key).problems[0]


def test_a_certificate_that_ends_soon_is_not_wrong_yet(tmp_path: Path) -> None:
    authority = new_authority("test")
    files = write_files(tmp_path, authority)
    write_pair(authority.server("server", HOSTS, days=10), files.cert, files.key)
    report = look_at_files(files.cert, files.key, ca=files.ca)
    assert report.problems == ()
    (soon,) = report.expiring
    assert soon.startswith("the certificate of 'server' expires on 20")


def intermediate(authority: Authority, name: str, *, is_ca: bool = True) -> tuple[Authority, bytes]:
    """An authority whose certificate another one has signed, and that certificate."""
    other = new_authority(name)
    own, above = (load_pem_x509_certificate(one.pair.cert) for one in (other, authority))
    key: Any = load_pem_private_key(authority.pair.key, None)
    builder = (
        CertificateBuilder()
        .subject_name(own.subject)
        .issuer_name(above.subject)
        .public_key(own.public_key())
        .serial_number(random_serial_number())
        .not_valid_before(own.not_valid_before_utc)
        .not_valid_after(own.not_valid_after_utc)
        .add_extension(BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    pem = builder.sign(key, SHA256()).public_bytes(Encoding.PEM)
    return Authority(Pair(pem, other.pair.key)), pem


def test_a_chain_leads_to_an_authority(tmp_path: Path) -> None:
    root = new_authority("root")
    between, pem = intermediate(root, "between")
    files = write_files(tmp_path, root)
    pair = between.server("server", HOSTS)
    write_pair(Pair(pair.cert + pem, pair.key), files.cert, files.key)
    assert look_at_files(files.cert, files.key, ca=files.ca).problems == ()
    write_pair(pair, files.cert, files.key)
    (found,) = look_at_files(files.cert, files.key, ca=files.ca).problems
    assert found == "it is signed by 'between', which is not trusted; the authorities are 'root'"


def test_a_certificate_that_is_not_an_authoritys_signs_none(tmp_path: Path) -> None:
    root = new_authority("root")
    between, pem = intermediate(root, "between", is_ca=False)
    files = write_files(tmp_path, root)
    pair = between.server("server", HOSTS)
    write_pair(Pair(pair.cert + pem, pair.key), files.cert, files.key)
    (found,) = look_at_files(files.cert, files.key, ca=files.ca).problems
    assert found == "'between' has signed it, but is not an authority (basic constraints: CA)"
