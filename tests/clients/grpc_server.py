"""A gRPC server whose messages are octets, so that it needs no schema. Says where it listens, and what was cancelled."""

import sys
import threading
from concurrent import futures

import grpc


def say(text):
    print(text, file=sys.stderr, flush=True)


def unary(message, context):
    metadata = dict(context.invocation_metadata())
    context.send_initial_metadata((("saw", metadata["authorization"]),))
    context.set_trailing_metadata((("length", str(len(message))), ("octets-bin", b"\0\xff")))
    return message


def count(message, context):
    for number in range(int(message)):
        yield str(number).encode()
    context.set_trailing_metadata((("counted", message.decode()),))


def joined(messages, context):
    return b"".join(messages)


def chat(messages, context):
    for message in messages:
        yield message


def refuse(message, context):
    context.set_trailing_metadata((("hint", "look elsewhere"),))
    context.abort(grpc.StatusCode.NOT_FOUND, "no such order: 7 ü")


def hang(message, context):
    assert context.time_remaining() < 3600, "the deadline came along"
    cancelled = threading.Event()
    context.add_callback(cancelled.set)
    say("hanging")
    cancelled.wait()
    say("cancelled")
    return b""


handlers = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Joined": grpc.stream_unary_rpc_method_handler(joined),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    "Hang": grpc.unary_unary_rpc_method_handler(hang),
}
server = grpc.server(futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Orders", handlers),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
say(f"listening 127.0.0.1:{port}")
server.wait_for_termination()
