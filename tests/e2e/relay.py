# SPDX-License-Identifier: Apache-2.0
"""relay.py PORT TO [CUTS]: connections to PORT of 127.0.0.1 go on to TO, each from another address of 127/8. The first connection that
carries as many bytes to its client as the first line of the file CUTS says is cut there, and the line taken away."""
import asyncio, pathlib, sys
to, n = int(sys.argv[2]), 0
cuts = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else None
async def copy_until_cut(reader, writer):
    done = 0
    try:
        while data := await reader.read(65536):
            lines = cuts.read_text().split() if cuts.exists() else []
            if lines and done + len(data) >= int(lines[0]):
                cuts.write_text("".join(line + "\n" for line in lines[1:]))
                writer.write(data[:int(lines[0]) - done])
                await writer.drain()
                break
            done += len(data)
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()
async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()
async def client(reader, writer):
    global n
    n += 1
    try:
        r, w = await asyncio.open_connection("127.0.0.1", to, local_addr=("127.9.%d.%d" % (n // 200, n % 200 + 1), 0))
    except OSError:
        writer.close()
        return
    await asyncio.gather(copy(reader, w), (copy_until_cut if cuts else copy)(r, writer))
    for x in (w, writer):
        x.close()
async def main():
    server = await asyncio.start_server(client, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(main())
