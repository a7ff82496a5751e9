"""One user that sends GETS to each of PATHS and ends the run. UNMASK=0 puts the hidden retry back."""

import os

import geventhttpclient.client
from locust import task

if os.environ.get("UNMASK") == "0":
    retry = geventhttpclient.client._may_retry_after_send_error

from _client import CoderUser

if os.environ.get("UNMASK") == "0":
    geventhttpclient.client._may_retry_after_send_error = retry


class FixedUser(CoderUser):
    @task
    def run_all(self) -> None:
        for path in os.environ["PATHS"].split():
            for _ in range(int(os.environ["GETS"])):
                self.client.get(path)
        self.environment.runner.quit()
