"""A gRPC client: grpc_client.py HOST:PORT [signed-out]. Prints the `authorization` that the server saw."""

import queue
import sys

import grpc

channel = grpc.insecure_channel(sys.argv[1], options=[("grpc.enable_http_proxy", 0)])
PATIENCE = 30


def method(kind, name):
    return getattr(channel, kind)(f"/test.Orders/{name}")


def refused(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call went through")


def all_kinds():
    message = bytes(range(256)) * 12_000
    reply, call = method("unary_unary", "Unary").with_call(message, timeout=PATIENCE)
    trailers = dict(call.trailing_metadata())
    assert reply == message and call.code() is grpc.StatusCode.OK
    assert (trailers["length"], trailers["octets-bin"]) == (str(len(message)), b"\0\xff"), trailers
    print(dict(call.initial_metadata())["saw"])

    counted = method("unary_stream", "Count")(b"1000", timeout=PATIENCE)
    assert [int(number) for number in counted] == list(range(1000))
    assert dict(counted.trailing_metadata())["counted"] == "1000"

    pieces = [bytes([number]) * 10_000 for number in range(200)]
    assert method("stream_unary", "Joined")(iter(pieces), timeout=PATIENCE) == b"".join(pieces)

    # Each message is sent only once the answer to the one before is there.
    to_send = queue.Queue()
    answers = method("stream_stream", "Chat")(iter(to_send.get, None), timeout=PATIENCE)
    for number in range(100):
        to_send.put(str(number).encode())
        assert next(answers) == str(number).encode()
    to_send.put(None)
    assert list(answers) == [] and answers.code() is grpc.StatusCode.OK

    error = refused(method("unary_unary", "Refuse"), b"", timeout=PATIENCE)
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such order: 7 ü"), error
    assert dict(error.trailing_metadata())["hint"] == "look elsewhere", error
    error = refused(method("unary_unary", "NoSuchMethod"), b"", timeout=PATIENCE)
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED, error

    error = refused(method("unary_unary", "Hang"), b"", timeout=1)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED, error


if sys.argv[2:] == ["signed-out"]:
    error = refused(method("unary_unary", "Unary"), b"", timeout=PATIENCE)
    assert error.code() is grpc.StatusCode.UNAVAILABLE, error
    print(error.details())
else:
    all_kinds()
