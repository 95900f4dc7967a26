"""A link between two network namespaces that delays every packet and loses some.

    link.py NEAR FAR PID MTU DELAY LOSS

NEAR and FAR are the addresses of its ends; the far one is moved into the network namespace of the process PID. DELAY is in
seconds, each way. Of each direction every packet is lost with the probability LOSS, by numbers that are the same in each run.
"""

import fcntl
import heapq
import os
import random
import selectors
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
LARGEST = 65536


def device(name):
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return tun


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def main():
    near, far, pid, mtu, delay, loss = sys.argv[1:]
    delay, loss = float(delay), float(loss)
    ends = [device("near"), device("far")]
    ip("link", "set", "far", "netns", pid)
    inside = ["nsenter", "-t", pid, "-n", "ip"]
    ip("addr", "add", near, "peer", far, "dev", "near")
    ip("link", "set", "near", "mtu", mtu, "up")
    subprocess.run([*inside, "addr", "add", far, "peer", near, "dev", "far"], check=True)
    subprocess.run([*inside, "link", "set", "far", "mtu", mtu, "up"], check=True)

    lost, carried = 0, 0
    dice = random.Random(1)
    selector = selectors.DefaultSelector()
    for end, other in (ends, ends[::-1]):
        selector.register(end, selectors.EVENT_READ, other)
    on_the_way = []
    print("up", flush=True)
    while True:
        wait = max(0, on_the_way[0][0] - time.monotonic()) if on_the_way else None
        for key, _ in selector.select(wait):
            packet = os.read(key.fd, LARGEST)
            if dice.random() < loss:
                lost += 1
                print(f"lost {lost} of {lost + carried}", flush=True)
                continue
            carried += 1
            heapq.heappush(on_the_way, (time.monotonic() + delay, carried, key.data, packet))
        while on_the_way and on_the_way[0][0] <= time.monotonic():
            _, _, to, packet = heapq.heappop(on_the_way)
            os.write(to, packet)


main()
