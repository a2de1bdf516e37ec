#!/usr/bin/env python3
"""Writes a trace of many groups whose prompts begin alike, for `replay --trace`.

A group stands for one customer or tool: its prompts share their first --shared tokens and end
differently. Requests arrive at random (Poisson), at each of --rates for --seconds, and each asks
one prompt, drawn evenly. Lengths are tokens; the trace counts in blocks of 512, so --shared is
rounded to those.
"""
import argparse
import json
import random

BLOCK = 512


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, default=150)
    parser.add_argument("--prompts", type=int, default=5, help="of each group")
    parser.add_argument("--shared", type=int, default=6000, help="tokens")
    parser.add_argument("--own", type=int, default=1200, help="tokens")
    parser.add_argument("--output", type=int, default=1000, help="tokens")
    parser.add_argument("--rates", default="3,10,20,30,40,50,60", help="requests a second")
    parser.add_argument("--seconds", type=float, default=50, help="at each rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("file")
    options = parser.parse_args()

    draw = random.Random(options.seed)
    shared = round(options.shared / BLOCK)
    total = options.shared + options.own
    blocks = -(-total // BLOCK)
    at = 0.0
    end = 0.0
    with open(options.file, "w", encoding="ascii") as out:
        for rate in map(float, options.rates.split(",")):
            end += options.seconds
            while True:
                at += draw.expovariate(rate)
                if at >= end:
                    at = end
                    break
                group = draw.randrange(options.groups)
                prompt = draw.randrange(options.prompts)
                base = group * blocks * (options.prompts + 1)
                own = base + (prompt + 1) * blocks
                ids = [base + i if i < shared else own + i for i in range(blocks)]
                out.write(json.dumps({"timestamp": int(at * 1000), "input_length": total,
                                      "output_length": options.output, "hash_ids": ids}) + "\n")


if __name__ == "__main__":
    main()
