#!/usr/bin/env python3
"""What tools/deploy/ offers: the program takes the example configuration, systemd the unit."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ.get("TANDEM_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
BINARY = pathlib.Path(os.environ.get("TANDEM_BINARY_DIR", SOURCE / "build" / "release"))
DEPLOY = SOURCE / "tools" / "deploy"
WRONG_USAGE = 2


class DeployTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="tandem_deploy_")
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)

    def serve(self, text):
        config = self.folder / "tandem.toml"
        config.write_text(text)
        return subprocess.run([BINARY / "tandem", "serve", "--config", config], capture_output=True, text=True, timeout=60)

    def example(self):
        log = self.folder / "access.log"
        return (DEPLOY / "tandem.toml").read_text().replace("/var/log/tandem/access.log", str(log))

    def test_the_example_is_understood(self):
        # All of it, up to the model, which is not there.
        done = self.serve(self.example())
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("/srv/models/Kimi-K2.6-packed", done.stderr)
        self.assertTrue((self.folder / "access.log").exists())

    def test_its_comments_are_understood_too(self):
        text = self.example().replace("# keys =", "keys =").replace("# allow-host =", "allow-host =")
        done = self.serve(text)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("/run/credentials/tandem.service/keys", done.stderr)

    def test_unknown_keys_and_wrong_values_are_refused(self):
        for line, word in [("htttp = \"off\"", "htttp"), ("max-queue = \"many\"", "max-queue"), ("drain = -1", "drain")]:
            with self.subTest(line=line):
                key = line.split(" ")[0]
                kept = [old for old in self.example().splitlines() if not old.startswith(key + " ")]
                done = self.serve("\n".join([*kept, line]))
                self.assertEqual(done.returncode, WRONG_USAGE, done.stderr)
                self.assertIn(word, done.stderr)

    def test_systemd_takes_the_unit(self):
        if shutil.which("systemd-analyze") is None:
            self.skipTest("no systemd-analyze here")
        unit = (DEPLOY / "tandem.service").read_text()
        for text in [unit, unit.replace("#LoadCredential", "LoadCredential").replace("#DeviceAllow", "DeviceAllow")]:
            path = self.folder / "tandem.service"
            path.write_text(text.replace("/usr/local/bin/tandem", shutil.which("true")))
            done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, timeout=60)
            told = [line for line in done.stderr.splitlines() if "tandem.service" in line]
            self.assertEqual((done.returncode, told), (0, []))


if __name__ == "__main__":
    sys.exit(not unittest.main(exit=False, verbosity=2).result.wasSuccessful())
