"""A MongoDB server for tests: the wire protocol over mongomock-ng, all data in memory.

What FireWorks and maggma ask for, no more: one database process, one lock, so that every command
is atomic. Never for production: nothing is on disk, and every query walks through all documents.

    python mongo_server.py [PORT]     # prints the port, serves until it is killed
"""

from __future__ import annotations

import socketserver
import struct
import sys
import threading
from typing import Any

import bson
import mongomock_ng
from bson.codec_options import CodecOptions
from mongomock_ng.gridfs import enable_gridfs_integration

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
HEADER = struct.Struct("<iiii")
BATCH = 10_000_000
"""Documents of one reply: all of them, so that no cursor is ever left open."""
UTC = CodecOptions(tz_aware=False)

enable_gridfs_integration()


class Database:
    """Commands of MongoDB on mongomock's collections."""

    def __init__(self) -> None:
        self.client = mongomock_ng.MongoClient()
        self.lock = threading.Lock()

    def run(self, command: dict[str, Any]) -> dict[str, Any]:
        """Answer one command, as a server does: errors are answers, too."""
        name = next(iter(command))
        answer = getattr(self, name.lower(), None)
        if answer is None or name.startswith("_"):
            return failure(59, f"no such command: {name}")
        database = self.client[command.get("$db", "admin")]
        target = command[name]
        with self.lock:
            try:
                collection = database[target] if isinstance(target, str) else None
                return {**answer(collection, command, database), "ok": 1.0}
            except mongomock_ng.DuplicateKeyError as error:
                return failure(11000, str(error))
            except (mongomock_ng.OperationFailure, NotImplementedError) as error:
                return failure(1, f"{name}: {error}")

    def hello(self, collection: Any, command: Any, database: Any) -> dict[str, Any]:
        return {
            "isWritablePrimary": True,
            "ismaster": True,
            "helloOk": True,
            "maxBsonObjectSize": 16 * 1024**2,
            "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000,
            "minWireVersion": 0,
            "maxWireVersion": 21,
            "readOnly": False,
        }

    ismaster = hello

    def ping(self, collection: Any, command: Any, database: Any) -> dict[str, Any]:
        return {}

    endsessions = killcursors = aborttransaction = ping

    def buildinfo(self, collection: Any, command: Any, database: Any) -> dict[str, Any]:
        return {"version": "7.0.0", "versionArray": [7, 0, 0, 0]}

    def find(self, collection: Any, command: Any, database: Any) -> dict[str, Any]:
        cursor = collection.find(command.get("filter") or {}, command.get("projection") or None)
        if command.get("sort"):
            cursor = cursor.sort(list(command["sort"].items()))
        cursor = cursor.skip(command.get("skip") or 0).limit(abs(command.get("limit") or 0))
        return first_batch(collection, list(cursor))

    def aggregate(self, collection: Any, command: Any, database: Any) -> dict[str, Any]:
        return first_batch(collection, list(collection.aggregate(command["pipeline"])))

    def count(self, collection: Any, command: Any, database: Any) -> dict[str, Any]:
        return {"n": collection.count_documents(command.get("query") or {})}

    def distinct(self, collection: Any, command: Any, database: Any) -> dict[str, Any]:
        return {"values": collection.distinct(command["key"], command.get("query") or {})}

    def insert(self, collection: Any, command: Any, database: Any) -> dict[str, Any]:
        errors = []
        for index, document in enumerate(command["documents"]):
            try:
                collection.insert_one(document)
            except mongomock_ng.DuplicateKeyError as error:
                errors.append({"index": index, "code": 11000, "errmsg": str(error)})
                if command.get("ordered", True):
                    break
        written = {"n": len(command["documents"]) - len(errors)}
        return {**written, "writeErrors": errors} if errors else written

    def update(self, collection: Any, command: Any, database: Any) -> dict[str, Any]:
        matched = modified = 0
        upserted = []
        for index, order in enumerate(command["updates"]):
            change, many = order["u"], order.get("multi", False)
            operators = isinstance(change, list) or any(key.startswith("$") for key in change)
            act = collection.replace_one
            if operators:
                act = collection.update_many if many else collection.update_one
            result = act(order["q"], change, upsert=order.get("upsert", False))
            matched += result.matched_count
            modified += result.modified_count or 0
            if result.upserted_id is not None:
                matched += 1
                upserted.append({"index": index, "_id": result.upserted_id})
        done: dict[str, Any] = {"n": matched, "nModified": modified}
        return {**done, "upserted": upserted} if upserted else done

    def delete(self, collection: Any, command: Any, database: Any) -> dict[str, Any]:
        deleted = 0
        for order in command["deletes"]:
            act = collection.delete_one if order.get("limit") == 1 else collection.delete_many
            deleted += act(order["q"]).deleted_count
        return {"n": deleted}

    def findandmodify(self, collection: Any, command: Any, database: Any) -> dict[str, Any]:
        options: dict[str, Any] = {"projection": command.get("fields")}
        if command.get("sort"):
            options["sort"] = list(command["sort"].items())
        query = command.get("query") or {}
        if command.get("remove"):
            found = collection.find_one_and_delete(query, **options)
        else:
            change = command["update"]
            operators = isinstance(change, list) or any(key.startswith("$") for key in change)
            act = collection.find_one_and_update if operators else collection.find_one_and_replace
            options |= {"upsert": command.get("upsert", False)}
            options |= {"return_document": bool(command.get("new", False))}
            found = act(query, change, **options)
        return {"value": found, "lastErrorObject": {"n": int(found is not None)}}

    def createindexes(self, collection: Any, command: Any, database: Any) -> dict[str, Any]:
        for index in command["indexes"]:
            keys = [(key, int(order)) for key, order in index["key"].items()]
            options = {key: index[key] for key in ("unique", "sparse") if key in index}
            collection.create_index(keys, name=index["name"], **options)
        return {}

    def listindexes(self, collection: Any, command: Any, database: Any) -> dict[str, Any]:
        found = collection.index_information().items()
        documents = [{"v": 2, "name": name, "key": dict(info["key"])} for name, info in found]
        return first_batch(collection, documents)

    def dropindexes(self, collection: Any, command: Any, database: Any) -> dict[str, Any]:
        collection.drop_indexes()
        return {}

    def listcollections(self, collection: Any, command: Any, database: Any) -> dict[str, Any]:
        names = database.list_collection_names()
        return first_batch(
            database["$cmd"], [{"name": name, "type": "collection"} for name in names]
        )

    def drop(self, collection: Any, command: Any, database: Any) -> dict[str, Any]:
        collection.drop()
        return {}

    def dropdatabase(self, collection: Any, command: Any, database: Any) -> dict[str, Any]:
        self.client.drop_database(database.name)
        return {}


def failure(code: int, message: str) -> dict[str, Any]:
    return {"ok": 0.0, "errmsg": message, "code": code}


def first_batch(collection: Any, documents: list[Any]) -> dict[str, Any]:
    """Reply with all documents at once: cursor 0 says that there are no more."""
    return {"cursor": {"id": bson.Int64(0), "ns": collection.full_name, "firstBatch": documents}}


def read_message(body: bytes) -> tuple[dict[str, Any], int]:
    """Command of an OP_MSG, with the documents of its sequences put back; and its flags."""
    (flags,) = struct.unpack_from("<I", body)
    position, command, sequences = 4, {}, {}
    end = len(body) - (4 if flags & 1 else 0)  # a checksum is not looked at
    while position < end:
        kind = body[position]
        (size,) = struct.unpack_from("<i", body, position + 1)
        section = body[position + 1 : position + 1 + size]
        if kind == 0:
            command = bson.decode(section, UTC)
        else:
            name, _, rest = section[4:].partition(b"\0")
            sequences[name.decode()] = bson.decode_all(rest, UTC)
        position += 1 + size
    return {**command, **sequences}, flags


class Connection(socketserver.BaseRequestHandler):
    """One client: requests in, answers out, until it hangs up."""

    def handle(self) -> None:
        while (header := self.receive(HEADER.size)) is not None:
            length, request, _, operation = HEADER.unpack(header)
            body = self.receive(length - HEADER.size)
            if body is None:
                return
            if operation == OP_MSG:
                command, flags = read_message(body)
                answer = self.server.database.run(command)
                if flags & 2:  # more to come, no answer wanted
                    continue
                self.send(request, OP_MSG, struct.pack("<IB", 0, 0) + bson.encode(answer))
            elif operation == OP_QUERY:  # the first greeting of a driver
                start = body.index(b"\0", 4) + 1 + 8
                (size,) = struct.unpack_from("<i", body, start)
                command = bson.decode(body[start : start + size], UTC)
                answer = self.server.database.run({**command, "$db": "admin"})
                prefix = struct.pack("<iqii", 8, 0, 0, 1)
                self.send(request, OP_REPLY, prefix + bson.encode(answer))
            else:
                return

    def send(self, request: int, operation: int, payload: bytes) -> None:
        size = HEADER.size + len(payload)
        self.request.sendall(HEADER.pack(size, 0, request, operation) + payload)

    def receive(self, size: int) -> bytes | None:
        data = bytearray()
        while len(data) < size:
            try:
                part = self.request.recv(size - len(data))
            except OSError:
                return None
            if not part:
                return None
            data += part
        return bytes(data)


class Server(socketserver.ThreadingTCPServer):
    """The server; `port` is free if 0 is asked for."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        self.database = Database()
        super().__init__(("127.0.0.1", port), Connection)

    @property
    def port(self) -> int:
        return self.server_address[1]


if __name__ == "__main__":
    with Server(int(sys.argv[1]) if len(sys.argv) > 1 else 0) as server:
        print(server.port, flush=True)
        server.serve_forever()
