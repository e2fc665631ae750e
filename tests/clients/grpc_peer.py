"""A gRPC server and client on grpcio, without generated code: messages are bytes.

server      prints `listening PORT`, then a line for each call that has ended
client PORT makes calls of every kind and prints what came back, a JSON object
"""

import json
import sys
import threading
import time
from concurrent import futures

import grpc

# A message larger than any window on the way.
LARGE = bytes(range(256)) * (5 << 12)
LIMITS = [
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
]


def say(*words):
    print(*words, flush=True)


def unary(request, context):
    context.set_trailing_metadata((("x-length", str(len(request))),))
    say("unary", len(request), context.time_remaining() is not None)
    return request[::-1]


def chat(requests, context):
    context.send_initial_metadata((("x-begin", "now"),))
    count = 0
    for request in requests:
        count += 1
        yield b"re: " + request
    say("chat", count)


def fail(request, context):
    say("fail")
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not so: \u00e4")


def hang(request, context):
    ended = threading.Event()

    def end():
        say("hang ended")
        ended.set()

    # What comes behind a yield may never run, if the call ends before it.
    if not context.add_callback(end):
        end()
    yield b"first"
    ended.wait(30)


def server():
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Hang": grpc.unary_stream_rpc_method_handler(hang),
    }
    served = grpc.server(futures.ThreadPoolExecutor(8), options=LIMITS)
    served.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Peer", methods),))
    say("listening", served.add_insecure_port("127.0.0.1:0"))
    served.start()
    served.wait_for_termination()


def client(address):
    result = {}
    with grpc.insecure_channel(address, options=LIMITS) as channel:
        ask = channel.unary_unary("/test.Peer/Unary")
        answer, call = ask.with_call(b"hello", timeout=30)
        result["unary"] = answer.decode()
        result["trailer"] = dict(call.trailing_metadata())["x-length"]
        result["large"] = ask(LARGE, timeout=60) == LARGE[::-1]

        # Each message waits for the answer to the one before.
        turns = threading.Semaphore(1)

        def say_each():
            for number in range(50):
                turns.acquire()
                yield b"%d" % number

        talk = channel.stream_stream("/test.Peer/Chat")(say_each(), timeout=30)
        answers = []
        for answer in talk:
            answers.append(answer)
            turns.release()
        result["begin"] = dict(talk.initial_metadata())["x-begin"]
        result["chat"] = answers == [b"re: %d" % number for number in range(50)]

        try:
            channel.unary_unary("/test.Peer/Fail")(b"", timeout=30)
        except grpc.RpcError as error:
            result["fail"] = [error.code().name, error.details()]

        slow = channel.unary_stream("/test.Peer/Hang")
        begun = time.monotonic()
        try:
            list(slow(b"deadline", timeout=1))
        except grpc.RpcError as error:
            result["deadline"] = error.code().name
        result["in time"] = time.monotonic() - begun < 10

        taken_back = slow(b"cancel", timeout=30)
        assert next(taken_back) == b"first"
        taken_back.cancel()
        result["cancel"] = taken_back.code().name
        try:
            channel.unary_unary("/test.Peer/None")(b"", timeout=30)
        except grpc.RpcError as error:
            result["unknown"] = error.code().name
    say(json.dumps(result))


if sys.argv[1] == "server":
    server()
else:
    client(sys.argv[2])
