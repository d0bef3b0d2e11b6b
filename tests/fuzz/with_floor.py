#!/usr/bin/python3
"""with_floor.py FLOOR PROGRAM ARGUMENT...: runs a libFuzzer program and fails when it covered fewer edges than FLOOR.

libFuzzer tells the edges it has covered in its status lines as "cov: N"; the last one counts.
"""

import re
import subprocess
import sys


def main():
    floor, command = int(sys.argv[1]), sys.argv[2:]
    done = subprocess.run(command, stdout=sys.stdout, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    sys.stderr.write(done.stderr[-8000:])
    if done.returncode != 0:
        return done.returncode
    covered = [int(number) for number in re.findall(r"\bcov: (\d+)", done.stderr)]
    if not covered:
        print("with_floor: the program told no coverage", file=sys.stderr)
        return 1
    print(f"{covered[-1]} edges covered, at least {floor} are asked for")
    return 0 if covered[-1] >= floor else 1


if __name__ == "__main__":
    sys.exit(main())
