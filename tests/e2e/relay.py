# SPDX-License-Identifier: Apache-2.0
"""relay.py PORT TO: connections to PORT of 127.0.0.1 go on to TO, each from another address of 127/8."""
import asyncio, sys
to, n = int(sys.argv[2]), 0
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
    await asyncio.gather(copy(reader, w), copy(r, writer))
    for x in (w, writer):
        x.close()
async def main():
    server = await asyncio.start_server(client, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(main())
