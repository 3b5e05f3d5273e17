"""redis-py's RedisCluster, and its client that knows of no cluster: where one of two nodes leads the keys, and where three have the same."""

import os
import subprocess
import threading
import time

import pytest
import redis
from conftest import DURABLE, IS_STERNA, TIED, TestServer, eventually, free_port, make_cluster

WAIT_SECONDS = 60
ROUND_ROBIN = redis.cluster.LoadBalancingStrategy.ROUND_ROBIN
NATS = os.environ.get("NATS_SERVER")
pytestmark = pytest.mark.skipif(not (IS_STERNA and NATS), reason="needs NATS_SERVER; ./test installs one")


def await_led(node):
    """A node that has just started has yet to hear who leads."""
    with redis.Redis(host=node.host, port=node.port, password=node.password, decode_responses=True) as client:
        deadline = time.monotonic() + WAIT_SECONDS
        while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            assert time.monotonic() < deadline, "nobody leads"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    port = free_port()
    nats = subprocess.Popen([*TIED, NATS, "-a", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL)
    nodes = []

    def words(node):
        leader = nodes[0] if nodes else node
        return ["--cluster-url", f"nats://127.0.0.1:{port}", "--cluster-leader", f"{leader.host}:{leader.port}"]

    for n in range(2):
        nodes.append(TestServer(tmp_path_factory.mktemp(f"node{n}"), words))
        nodes[n].start()
        await_led(nodes[n])
    yield nodes
    for node in nodes:
        node.stop()
    nats.kill()
    nats.wait()


@pytest.mark.parametrize("at", [0, 1], ids=["leads", "does-not-lead"])
@pytest.mark.parametrize("protocol", [2, 3])
def test_clients_see_the_same_keys_at_any_node(nodes, at, protocol):
    # Without TLS: the client that goes from node to node trusts one certificate.
    options = {"password": nodes[0].password, "protocol": protocol, "decode_responses": True}
    host, port = nodes[at].host, nodes[at].port
    with redis.RedisCluster(host=host, port=port, **options) as cluster, redis.Redis(host=host, port=port, **options) as alone:
        cluster.flushall()
        assert alone.mset({f"k{n}": n for n in range(50)})
        assert [cluster.get(f"k{n}") for n in range(50)] == [str(n) for n in range(50)]
        with cluster.pipeline() as pipeline:
            pipeline.set("{t}1", "x").incr("{t}2").get("{t}1")
            assert pipeline.execute() == [True, 1, "x"]
        assert cluster.eval("return redis.call('GET', KEYS[1])", 1, "{t}1") == "x"
        assert cluster.dbsize() == alone.dbsize() == 52
        with alone.pipeline() as pipeline:
            pipeline.watch("{t}2")
            cluster.incr("{t}2")
            pipeline.multi()
            pipeline.set("{t}2", "lost")
            with pytest.raises(redis.WatchError):
                pipeline.execute()
        cluster.rpush("list", "a")
        assert list(alone.blpop("list", timeout=0)) == ["list", "a"]
        assert len(cluster.get_nodes()) == 1, "slots are one node's"


@pytest.fixture(scope="module")
def equals(tmp_path_factory):
    """Three nodes whose keys are those of all."""
    words = [*make_cluster(), *DURABLE]
    nodes = [TestServer(tmp_path_factory.mktemp(f"equal{n}"), words) for n in range(3)]
    for node in nodes:
        node.start()
    eventually("a node to lead", lambda: any(node.leads() for node in nodes))
    for node in nodes:
        await_led(node)
    yield nodes
    for node in nodes:
        node.stop()


def test_a_cluster_reads_from_replicas_and_writes_through_a_failover(equals):
    options = {"password": equals[0].password, "decode_responses": True}
    start = [redis.cluster.ClusterNode(node.host, node.port) for node in equals]
    with redis.RedisCluster(startup_nodes=start, load_balancing_strategy=ROUND_ROBIN, **options) as cluster:
        assert (len(cluster.get_primaries()), len(cluster.get_replicas())) == (1, 2)
        cluster.set("k", "v")
        eventually("the copies", lambda: all(cluster.get("k") == "v" for _ in range(3)))

    acknowledged, goes_on = [], True
    with redis.RedisCluster(startup_nodes=start, **options) as cluster:

        def write():
            n = 0
            while goes_on:
                try:
                    cluster.set(f"n:{n}", n)
                    acknowledged.append(n)
                except (redis.ConnectionError, redis.TimeoutError, redis.exceptions.ClusterError):
                    # Its patience is over; the program goes on with its next write.
                    time.sleep(0.1)
                n += 1

        writer = threading.Thread(target=write)
        writer.start()
        eventually("writes", lambda: len(acknowledged) > 20)
        next(node for node in equals if node.leads()).crash()
        before = len(acknowledged)
        eventually("writes after the failover", lambda: len(acknowledged) > before + 20)
        goes_on = False
        writer.join()
        assert [cluster.get(f"n:{n}") for n in acknowledged] == [str(n) for n in acknowledged]
