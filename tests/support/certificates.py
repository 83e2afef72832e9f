"""Certificates for servers of the tests."""

import subprocess


def make_certificate(folder):
    """A certificate of 127.0.0.1 by its own authority, and its key, as two files in a folder."""
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test -keyout key.pem -out cert.pem"
    )
    done = subprocess.run([*command.split(), "-addext", "subjectAltName=IP:127.0.0.1"], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "cert.pem", folder / "key.pem"
