#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""For 53-queue-cut.sh: what every power cut and every kill -9 would have left of the queues of an agentd-link that ran under strace.

usage: queue_cut.py STRACE-LOG TIMES READER SCRATCH QUEUE-FOLDER RAM-FOLDER PREFIX NAME:TOPIC:LOSS:KIB...

STRACE-LOG has all writes, syncs, names and messages on sockets in order (strace -f -ttt -y -xx), TIMES when the broker had what
(recorder.py), READER is queue_read. After each event the states are made that it can leave:

  kill -9     all that was written, with the file in RAM
  power cut   what was synced, and of the rest nothing, all, or any sectors of 512 bytes; without the file in RAM

and opened. In each, every message that was acknowledged to its publisher by then must be there or with the broker; where the queue may lose
LOSS - 1 after a power cut, only the youngest are missing; none is damaged, none is out of order, and none is there twice that was published once.

CUT_POINTS=N looks at N of the events, spread over all; default: all. CUT_KEEP=N:FOLDER keeps the disks of N power cuts, when most messages
waited, with "must", the messages that a start from them has to deliver."""
import os
import random
import re
import subprocess
import sys

SECTOR = 512
# docs/design/queue.md: what was done since the superblock, and what is under way
AGAIN_AFTER_KILL, AGAIN_AFTER_CUT = 2 * 64 + 16, 17 * 64 + 16

CALL = re.compile(r"^(\d+) +(\d+\.\d+) (\w+)\((.*)$")
RESUMED = re.compile(r"^(\d+) +(\d+\.\d+) <\.\.\. \w+ resumed>(.*)$")
STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
FD = re.compile(r"^(\d+)<((?:\\x[0-9a-f]{2})*)>")
IOV = re.compile(r'iov_base="((?:\\x[0-9a-f]{2})*)"')
RESULT = re.compile(r"\) += (-?\d+)[^)\"]*$")


def plain(text):
    return bytes.fromhex(text.replace("\\x", ""))


# ---- the log

def calls(path):
    """(time, is_done, thread, name, arguments, result): at its begin with None as result, and at its end."""
    begun = {}
    with open(path, errors="replace") as f:
        for line in f:
            m = CALL.match(line)
            if m:
                tid, at, name, rest = m.group(1), float(m.group(2)), m.group(3), m.group(4).rstrip("\n")
                if rest.endswith("<unfinished ...>"):
                    begun[tid] = (name, rest[:-len("<unfinished ...>")].rstrip())
                    yield at, False, tid, name, begun[tid][1], None
                    continue
                yield at, False, tid, name, rest, None
            else:
                m = RESUMED.match(line)
                if not m or m.group(1) not in begun:
                    continue
                tid, at = m.group(1), float(m.group(2))
                name, rest = begun.pop(tid)
                rest += m.group(3)
            r = RESULT.search(rest)
            if r:
                yield at, True, tid, name, rest, int(r.group(1))


class Stream:
    """Messages of one direction of one socket: whole D-Bus messages, after the lines of the handshake."""
    def __init__(self):
        self.data, self.is_dead = b"", False

    def feed(self, data):
        if self.is_dead:
            return
        self.data += data
        while self.data:
            if self.data[0] != ord("l"):
                end = self.data.find(b"\r\n")
                if end < 0:
                    self.is_dead = len(self.data) > 512
                    return
                self.data = self.data[end + 2:]
                continue
            if len(self.data) < 16:
                return
            if self.data[1] not in (1, 2, 3, 4) or self.data[3] != 1:
                self.is_dead = True
                return
            n_body, serial, n_fields = (int.from_bytes(self.data[i:i + 4], "little") for i in (4, 8, 12))
            begin = (16 + n_fields + 7) // 8 * 8
            if begin + n_body > 1 << 20:
                self.is_dead = True
                return
            if len(self.data) < begin + n_body:
                return
            yield self.data[1], serial, self.fields(16, 16 + n_fields), self.data[begin:begin + n_body]
            self.data = self.data[begin + n_body:]

    def fields(self, at, end):
        found = {}
        while at < end:
            code, signature = self.data[at], chr(self.data[at + 2])
            at += 4
            if signature in "osu":
                at = (at + 3) // 4 * 4
                n = int.from_bytes(self.data[at:at + 4], "little")
                found[code] = n if signature == "u" else self.data[at + 4:at + 4 + n]
                at += 4 if signature == "u" else 4 + n + 1
            else:
                at += 1 + self.data[at] + 1
            at = (at + 7) // 8 * 8
        return found


def published(body):
    """Topic and payload of the arguments "sayuu"."""
    n = int.from_bytes(body[:4], "little")
    at = (4 + n + 1 + 3) // 4 * 4
    return body[4:4 + n], body[at + 4:at + 4 + int.from_bytes(body[at:at + 4], "little")]


class Doors:
    """Calls of Publish as they come in, and the answers as they go out."""
    def __init__(self):
        self.into, self.out, self.waiting = {}, {}, {}

    def got(self, socket, data):
        for kind, serial, fields, body in self.into.setdefault(socket, Stream()).feed(data):
            if kind == 1 and fields.get(3) == b"Publish":
                self.waiting[socket, serial] = published(body)
                yield self.waiting[socket, serial]

    def sent(self, socket, data):
        for kind, _, fields, _ in self.out.setdefault(socket, Stream()).feed(data):
            if kind == 2 and (socket, fields.get(5)) in self.waiting:
                yield self.waiting.pop((socket, fields.get(5)))


# ---- what is on the medium

class File:
    def __init__(self):
        self.now, self.stable, self.pending = bytearray(), bytearray(), []

    def write(self, offset, data):
        put(self.now, offset, data)
        while data:
            n = SECTOR - offset % SECTOR
            self.pending.append((offset, data[:n]))
            offset, data = offset + n, data[n:]

    def synced(self, n):
        for offset, data in self.pending[:n]:
            put(self.stable, offset, data)
        del self.pending[:n]

    def after_cut(self, percent):
        image = bytearray(self.stable)
        for offset, data in self.pending:
            if random.randrange(100) < percent:
                put(image, offset, data)
        # The size of a file that is there under its name was synced with it.
        return image


def put(image, offset, data):
    if len(image) < offset + len(data):
        image.extend(bytes(offset + len(data) - len(image)))
    image[offset:offset + len(data)] = data


class Disk:
    def __init__(self, folder):
        self.folder, self.names, self.stable_names, self.syncs = folder, {}, {}, {}

    def file(self, path):
        return self.names.setdefault(path, File())

    def call(self, tid, name, rest, result):
        """The path that the call changed, or None."""
        fd = FD.match(rest)
        path = plain(fd.group(2)).decode(errors="replace") if fd else None
        inside = path is not None and path.startswith(self.folder + "/")
        if name in ("fdatasync", "fsync") and (inside or path == self.folder):
            if result is None:
                self.syncs[tid] = len(self.file(path).pending) if inside else dict(self.names)
            elif result == 0 and inside:
                self.file(path).synced(self.syncs.pop(tid))
                return path
            elif result == 0:
                self.stable_names = self.syncs.pop(tid)
                return path
        if result is None or result < 0:
            return None
        strings = [plain(s) for s in STRING.findall(rest)]
        if name == "pwrite64" and inside:
            self.file(path).write(int(re.search(r", (\d+)\) +=", rest).group(1)), strings[0][:result])
            return path
        if name == "openat" and "O_EXCL" in rest and strings[0].decode(errors="replace").startswith(self.folder + "/"):
            self.names[strings[0].decode()] = File()
        elif name == "rename" and strings[0].decode(errors="replace").startswith(self.folder + "/"):
            self.names[strings[1].decode()] = self.names.pop(strings[0].decode())
            return strings[1].decode()
        elif name == "unlink" and self.names.pop(strings[0].decode(errors="replace"), None) is not None:
            return strings[0].decode()
        return None


# ---- what was promised

class Queue:
    def __init__(self, spec, folder, ram_folder, prefix):
        self.name, topic, loss, kib = spec.split(":")
        self.topic, self.loss, self.size = topic.replace("~", prefix, 1).encode(), int(loss), int(kib) * 1024
        self.path, self.ram_path = "%s/%s.q" % (folder, self.name), "%s/%s.ram" % (ram_folder, self.name)
        self.prefix = prefix.encode()
        self.n_called, self.payload_of = {}, {}
        self.acked, self.was_acked, self.owed = [], set(), set()
        self.there_at = {}
        self.n_states, self.n_unpromised, self.n_allowed, self.most_kept = 0, 0, 0, 0
        self.most_again = [0, 0]  # after a kill, after a power cut

    def called(self, payload):
        number = int(payload.split(b":")[0])
        self.n_called[number] = self.n_called.get(number, 0) + 1
        self.payload_of[number] = payload

    def is_acked(self, payload):
        number = int(payload.split(b":")[0])
        if number not in self.was_acked:
            self.acked.append(number)
            self.was_acked.add(number)
            self.owed.add(number)

    def broker_has(self, number, at):
        return self.there_at.get(number, float("inf")) <= at

    def check(self, found, at, is_power_cut, what):
        self.n_states += 1
        here, last = {}, 0
        for topic, payload in found:
            number = int(payload.split(b":")[0]) if payload.split(b":")[0].isdigit() else 0
            if topic != self.topic or self.payload_of.get(number) != payload:
                raise SystemExit("not ok - %s: a damaged message: %r %r" % (what, topic, payload[:60]))
            here[number] = here.get(number, 0) + 1
            if here[number] > self.n_called[number]:
                raise SystemExit("not ok - %s: message %d is there %d times" % (what, number, here[number]))
            if number < last and here[number] == 1:
                raise SystemExit("not ok - %s: message %d comes after %d" % (what, number, last))
            last = number
        self.owed = {n for n in self.owed if not self.broker_has(n, at)}
        lost = self.owed.difference(here)
        youngest = set(self.acked[max(0, len(self.acked) - (self.loss - 1)):]) if is_power_cut and self.loss > 1 else set()
        if lost - youngest:
            raise SystemExit("not ok - %s: lost %s, which was acknowledged" % (what, sorted(lost - youngest)[:5]))
        self.n_allowed += len(lost)
        self.n_unpromised += sum(1 for n in self.n_called if n not in here and n not in self.was_acked and not self.broker_has(n, at))
        again = sum(1 for n in here if self.broker_has(n, at))
        if again > (AGAIN_AFTER_CUT if is_power_cut else AGAIN_AFTER_KILL):
            raise SystemExit("not ok - %s: %d messages come again, more than is written down" % (what, again))
        self.most_again[is_power_cut] = max(self.most_again[is_power_cut], again)
        self.most_kept = max(self.most_kept, len(here))
        return here


class Reader:
    def __init__(self, program, scratch):
        self.program = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.scratch = scratch

    def read(self, image, ram, queue):
        names = [os.path.join(self.scratch, n) for n in ("disk", "ram")]
        for name, content in zip(names, (image, ram)):
            if os.path.exists(name):
                os.unlink(name)
            if content is not None:
                with open(name, "wb") as f:
                    f.write(content)
        self.program.stdin.write(("%s %s %d %d\n" % (names[0], "-" if ram is None else names[1], queue.size, queue.loss)).encode())
        self.program.stdin.flush()
        found = []
        for line in self.program.stdout:
            if line.startswith(b"m "):
                found.append(tuple(line.rstrip(b"\n").split(b" ", 2)[1:]))
            elif line.startswith(b"end "):
                return found
            else:
                raise SystemExit("not ok - a queue cannot be read: %s" % line.decode(errors="replace"))
        raise SystemExit("not ok - the program that reads queues died")


class Replay:
    def __init__(self, queues, disk, ram, reader):
        self.queues, self.disk, self.ram, self.reader = queues, disk, ram, reader
        self.n_points = self.n_events = 0

    def states(self, queue):
        """(what, image of the disk file or None, file in RAM or None, is it a power cut)"""
        now = self.disk.names.get(queue.path)
        in_ram = self.ram.names.get(queue.ram_path) if queue.loss > 1 else None
        yield "kill -9", now.now if now else None, in_ram.now if in_ram else None, False
        names = [self.disk.stable_names] + ([self.disk.names] if self.disk.names.get(queue.path) is not self.disk.stable_names.get(queue.path) else [])
        for known in names:
            file = known.get(queue.path)
            if file is None:
                yield "power cut", None, None, True
                continue
            for percent in (0, 100, 50, random.choice((10, 90))) if file.pending else (0,):
                yield "power cut, %d %% of what was not synced" % percent, file.after_cut(percent), None, True

    def look(self, at, only):
        self.n_points += 1
        for queue in self.queues:
            if only is not None and queue is not only:
                continue
            for what, image, ram, is_power_cut in self.states(queue):
                found = self.reader.read(image, ram, queue)
                queue.check(found, at, is_power_cut, "%s of queue %s after event %d" % (what, queue.name, self.n_events))

    def keep(self, folder, at):
        """The disks as a power cut leaves them, and what a start has to deliver of them."""
        os.makedirs(folder)
        with open(os.path.join(folder, "must"), "w") as must:
            for queue in self.queues:
                file = self.disk.stable_names.get(queue.path)
                if file is None:
                    continue
                image = file.after_cut(50)
                here = queue.check(self.reader.read(image, None, queue), at, True, "kept disk")
                with open(os.path.join(folder, queue.name + ".q"), "wb") as f:
                    f.write(image)
                for number in sorted(here):
                    must.write("%s %s\n" % (queue.topic.decode(), queue.payload_of[number].decode()))


def events(path, disk, ram, queues):
    """(time, queue or None) for each thing that changes what is on the medium or what was promised."""
    by_topic, doors = {q.topic: q for q in queues}, Doors()
    by_path = {p: q for q in queues for p in (q.path, q.ram_path)}
    prefix = queues[0].prefix
    for at, is_end, tid, name, rest, result in calls(path):
        fd = FD.match(rest)
        socket = fd.group(2) if fd and plain(fd.group(2)).startswith(b"socket:") else None
        if socket is not None:
            # A message is gone as soon as it is sent, and there once it was read.
            if name in ("sendto", "sendmsg") and not is_end:
                data = b"".join(plain(s) for s in (IOV.findall(rest) if name == "sendmsg" else STRING.findall(rest)[:1]))
                for topic, payload in doors.sent(socket, data):
                    queue = by_topic.get(topic.replace(b"~", prefix, 1))
                    if queue is not None:
                        queue.is_acked(payload)
                        yield at, queue
            elif name in ("recvfrom", "recvmsg") and is_end and result > 0:
                data = b"".join(plain(s) for s in (IOV.findall(rest) if name == "recvmsg" else STRING.findall(rest)[:1]))
                for topic, payload in doors.got(socket, data[:result]):
                    queue = by_topic.get(topic.replace(b"~", prefix, 1))
                    if queue is not None:
                        queue.called(payload)
            continue
        result = result if is_end else None
        changed = disk.call(tid, name, rest, result) or ram.call(tid, name, rest, result)
        if changed is not None:
            yield at, by_path.get(changed.replace(".new", ""))


def main():
    log, times, program, scratch, folder, ram_folder, prefix = sys.argv[1:8]
    queues, uncounted = ([Queue(spec, folder, ram_folder, prefix) for spec in sys.argv[8:]] for _ in range(2))
    with open(times, "rb") as f:
        for line in f:
            at, topic, number = line.split()
            for queue in queues + uncounted:
                if queue.topic == topic:
                    queue.there_at.setdefault(int(number), float(at))
    waiting = []  # after each event: how many were acknowledged and are not with the broker
    for at, _ in events(log, Disk(folder), Disk(ram_folder), uncounted):
        for queue in uncounted:
            queue.owed = {n for n in queue.owed if not queue.broker_has(n, at)}
        waiting.append(sum(len(queue.owed) for queue in uncounted))
    n_all = len(waiting)
    wanted = min(n_all, int(os.environ.get("CUT_POINTS", n_all)))
    n_keep, keep_folder = os.environ.get("CUT_KEEP", "0:").split(":", 1)
    chosen = {(2 * i + 1) * n_all // (2 * wanted) for i in range(wanted)} if wanted else set()
    parts = [range(i * n_all // int(n_keep), (i + 1) * n_all // int(n_keep)) for i in range(int(n_keep))]
    kept = [max(part, key=lambda i: waiting[i]) for part in parts]
    disk, ram = Disk(folder), Disk(ram_folder)
    replay = Replay(queues, disk, ram, Reader(program, scratch))
    random.seed(1)
    for i, (at, queue) in enumerate(events(log, disk, ram, queues)):
        replay.n_events = i
        if i in chosen:
            replay.look(at, queue)
        if i in kept:
            replay.keep(os.path.join(keep_folder, str(kept.index(i))), at)
    for queue in queues:
        print("queue %s: %d messages, %d acknowledged, %d with the broker, %d states, at most %d in it; not promised and gone: %d, lost as allowed: %d; again at most %d after a kill, %d after a power cut" %
              (queue.name, len(queue.n_called), len(queue.acked), len(queue.there_at), queue.n_states, queue.most_kept, queue.n_unpromised, queue.n_allowed,
               *queue.most_again))
        if queue.n_unpromised == 0 or not queue.acked:
            raise SystemExit("not ok - queue %s: nothing was ever at stake" % queue.name)
    print("%d of %d events, %d states: nothing that was acknowledged is lost" % (replay.n_points, n_all, sum(q.n_states for q in queues)))


main()
