"""Pusher's SDK for Python, as a service has it."""

import json

import pusher
import pytest
import redis

from conftest import IS_STERNA, PASSWORD, TestServer, free_port

pytestmark = pytest.mark.skipif(not IS_STERNA, reason="Redis speaks no HTTP")
KEY, SECRET = "app-key", "app-secret"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    http = free_port()
    server = TestServer(
        tmp_path_factory.mktemp("pusher"), ["--http-port", str(http), "--pusher-app", f"1 {KEY} {SECRET}"]
    )
    server.start()
    yield server, http
    server.stop()


def service(http: int, secret: str = SECRET) -> pusher.Pusher:
    return pusher.Pusher(app_id="1", key=KEY, secret=secret, host="127.0.0.1", port=http, ssl=False)


def test_events_reach_subscribers_of_redis(served):
    server, http = served
    client = redis.Redis(port=server.port, password=PASSWORD, decode_responses=True)
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe("news", "other")
    ours = service(http)
    while len(ours.channels_info()["channels"]) < 2:
        listener.get_message(timeout=0.1)
    ours.trigger(["news", "other"], "sold", {"item": 7})
    ours.trigger_batch([{"channel": "news", "name": "one", "data": "text"}])
    told = {"news": [], "other": []}
    while len(told["news"]) < 2 or not told["other"]:
        message = listener.get_message(timeout=60)
        if message is not None:
            told[message["channel"]].append(json.loads(message["data"]))
    sold = {"event": "sold", "data": '{"item": 7}'}
    assert told == {"news": [sold, {"event": "one", "data": "text"}], "other": [sold]}
    assert ours.channel_info("news", ["subscription_count"]) == {"occupied": True, "subscription_count": 1}
    assert set(ours.channels_info()["channels"]) == {"news", "other"}
    assert ours.users_info("presence-room") == {"users": []}
    client.close()


def test_who_has_not_the_secret_is_refused(served):
    _, http = served
    with pytest.raises(pusher.errors.PusherBadAuth):
        service(http, "other").trigger("news", "sold", 1)
