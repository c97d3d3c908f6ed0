#!/usr/bin/env python3
"""tools/deploy/slurm_batch on a Slurm cluster of its own: a real slurmctld and two slurmd, on loopback, without munge.

Without Slurm's programs, or without the right to run them as one's own user, it says so and exits with 77: skipped.
"""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "service"))
import serving

SCRIPT = serving.SOURCE / "tools" / "deploy" / "slurm_batch"
REQUESTS, SHARDS = 60, 3
CONFIG = """\
ClusterName=tandem
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SchedulerParameters=sched_interval=2,batch_sched_delay=0
NodeName=one NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName=two NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=all Nodes=one,two Default=YES State=UP
"""


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for held in sockets:
        held.bind(("127.0.0.1", 0))
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


class Cluster:
    def __init__(self):
        self.folder = serving.scratch() / "slurm"
        (self.folder / "state").mkdir(parents=True)
        config = self.folder / "slurm.conf"
        config.write_text(CONFIG.format(ports=free_ports(3), folder=self.folder))
        os.environ["SLURM_CONF"] = str(config)
        self.daemons = [self._start("slurmctld", "-D", "-f", config)]
        self.daemons += [self._start("slurmd", "-D", "-N", node, "-f", config) for node in ("one", "two")]
        if not serving.wait_until(lambda: self._run("sinfo", "-h", "-o", "%T %D") == "idle 2"):
            self.stop()
            raise AssertionError(f"no cluster: {self._run('sinfo')} {self._logs()}")

    def _start(self, *command):
        with open(self.folder / "daemons.out", "a") as out:
            return subprocess.Popen([str(part) for part in command], stdout=out, stderr=out)

    def _run(self, *command):
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    def _logs(self):
        return "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))

    def jobs(self):
        """{"5_1": "RUNNING", ...} of those that have not ended."""
        return dict(line.split() for line in self._run("squeue", "-h", "-r", "-o", "%i %T").splitlines())

    def stop(self):
        self._run("scancel", "--user", "root")
        time.sleep(0.5)
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(timeout=30)


def write_requests(path, max_tokens):
    with open(path, "w") as out:
        for i in range(REQUESTS):
            body = {"model": "any", "temperature": 0, "max_tokens": max_tokens, "ignore_eos": True,
                    "chat_template_kwargs": {"thinking": False},
                    "messages": [{"role": "user", "content": f"What is a river? ({i})"}]}
            out.write(json.dumps({"custom_id": f"r{i}", "method": "POST", "url": "/v1/chat/completions", "body": body}) + "\n")


def texts(path):
    """[(custom_id, answer)] in the file's order."""
    with open(path) as file:
        lines = [json.loads(line) for line in file]
    return [(line["custom_id"], line["response"]["body"]["choices"][0]["message"]["content"]) for line in lines]


class SlurmBatchTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster()
        cls.model = serving.demo_model()
        cls.folder = serving.scratch()
        os.environ["TANDEM"] = str(serving.BINARY / "tandem")

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()

    def submit(self, source, output):
        done = subprocess.run([SCRIPT, str(SHARDS), self.model, source, output, "--max-sequences", "4", "--threads", "1"],
                              capture_output=True, text=True, check=True)
        _, array, _, merge = done.stdout.split()
        return array, merge

    def wait_for_end(self, output):
        ended = serving.wait_until(lambda: not self.cluster.jobs(), 150)
        logs = "".join(path.read_text() for path in self.folder.glob(f"{output.name}*.log"))
        self.assertTrue(ended, f"{self.cluster.jobs()} {logs}")
        self.assertTrue(output.exists(), logs)

    def whole(self, source):
        """The same requests on one machine."""
        output = source.with_suffix(".whole.jsonl")
        subprocess.run([serving.BINARY / "tandem", "batch", self.model, source, "-o", output, "--ordered", "--quiet"], check=True,
                       capture_output=True)
        return texts(output)

    def test_shards_are_merged_in_order(self):
        source, output = self.folder / "in.jsonl", self.folder / "out.jsonl"
        write_requests(source, 16)
        self.submit(source, output)
        self.wait_for_end(output)
        self.assertEqual(texts(output), self.whole(source))
        again = subprocess.run([SCRIPT, str(SHARDS), self.model, source, output], capture_output=True, text=True)
        self.assertEqual(again.returncode, 1)
        self.assertIn("exists already", again.stderr)

    def test_a_task_that_is_requeued_goes_on(self):
        source, output = self.folder / "long.jsonl", self.folder / "long_out.jsonl"
        write_requests(source, 800)
        array, _ = self.submit(source, output)
        first = self.folder / f"long_out.jsonl.1-of-{SHARDS}"
        self.assertTrue(serving.wait_until(lambda: first.exists() and first.stat().st_size > 0, 60))
        self.assertEqual(self.cluster.jobs().get(f"{array}_1"), "RUNNING", "too fast to be interrupted")
        # As when a machine fails: killed at once, and put back into the queue.
        subprocess.run(["scontrol", "requeue", f"{array}_1"], check=True)
        self.wait_for_end(output)
        self.assertEqual(texts(output), self.whole(source))

    def test_a_task_whose_time_is_up_keeps_what_is_done_and_comes_back(self):
        source, output = self.folder / "timed.jsonl", self.folder / "timed_out.jsonl"
        write_requests(source, 800)
        array, _ = self.submit(source, output)
        first = self.folder / f"timed_out.jsonl.1-of-{SHARDS}"
        self.assertTrue(serving.wait_until(lambda: first.exists() and first.stat().st_size > 0, 60))
        # What --signal=B:TERM@120 sends two minutes before the end.
        subprocess.run(["scancel", "--batch", "--signal=TERM", f"{array}_1"], check=True)
        self.wait_for_end(output)
        self.assertEqual(texts(output), self.whole(source))
        self.assertIn("stopping", (self.folder / f"timed_out.jsonl.1-of-{SHARDS}.log").read_text())

    def test_usage(self):
        for arguments in ([], ["0", "m", "i", "o"], ["x", "m", "i", "o"], ["2", "m", "i"]):
            with self.subTest(arguments=arguments):
                done = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True)
                self.assertEqual(done.returncode, 2)
                self.assertIn("slurm_batch SHARDS MODEL IN.jsonl OUT.jsonl", done.stderr)


if __name__ == "__main__":
    if not all(shutil.which(program) for program in ("slurmctld", "slurmd", "sbatch")):
        serving.skip("no Slurm (packages slurmctld, slurmd, slurm-client)")
    if os.getuid() != 0:
        serving.skip("a cluster of one's own needs root")
    unittest.main(verbosity=2)
