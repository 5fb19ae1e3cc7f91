"""Checks that the commands in the pages exist: every call of our programs in a code block or code span parses, and every script
and stage that is called is there.

Usage: commands.py PROGRAMS, from the repository's root; PROGRAMS is the folder of the built programs. A call is tried with
`--help` after it: clap then prints help if all arguments before it are known, and fails otherwise. Nothing is carried out."""

import os
import re
import shlex
import subprocess
import sys

PROGRAMS = ("portraitd", "portraitctl", "portraitd-lab")
# What was, and what is planned.
EXCLUDED = ("CHANGELOG.md", "docs/design/compatibility.md")
folder = sys.argv[1]
stages = subprocess.run(["tests/run", "--list"], capture_output=True, text=True, check=True).stdout.split() + ["quick"]
problems, tried, scripts = [], 0, 0


def blocks(text: str):
    """The lines of code, with continued lines joined, and the code spans of a page, each with its line number."""
    fence, joined, start = False, "", 0
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip().startswith("```"):
            fence = not fence
            continue
        if fence or line.startswith("    "):
            start = start or number
            joined += line.strip()
            if joined.endswith("\\"):
                joined = joined[:-1]
                continue
            yield start, joined
            joined, start = "", 0
        else:
            for span in re.findall(r"`([^`]+)`", line):
                yield number, span


def calls(code: str):
    """The commands of a line of shell, as words. Text that the shell could not read is no command."""
    code = re.sub(r"^(\$|#) ", "", code)
    for part in re.split(r"&&|\|\|?|;|\$\(|(?<!>)&(?!\d)", code):
        try:
            words = shlex.split(part, comments=True)
        except ValueError:
            continue
        # Redirections, variables before the command, and commands that run another.
        words = [word for word in words if not re.match(r"^\d*[<>]", word)]
        while words and (re.match(r"^[A-Z_]+=", words[0]) or words[0] in ("sudo", "exec", "time", "!")):
            words.pop(0)
        if words:
            yield [word.rstrip(")") if word == words[-1] else word for word in words]


def is_placeholder(word: str) -> bool:
    """Not meant literally; `->` stands in ARCHITECTURE.md's picture of the crates."""
    return word == "->" or "..." in word or bool(re.fullmatch(r"\[.*|.*\]", word))


pages = subprocess.run(["git", "ls-files", "*.md"], capture_output=True, text=True, check=True).stdout.split()
for page in pages:
    if page in EXCLUDED:
        continue
    with open(page, encoding="utf-8") as file:
        text = file.read()
    for number, code in blocks(text):
        for words in calls(code):
            where = f"{page}:{number}: {' '.join(words)}"
            name = words[0].removeprefix("target/release/").removeprefix("/usr/bin/")
            if name == "cargo" and words[1:6] == ["run", "--release", "-p", "portraitd-lab", "--"]:
                name, words = "portraitd-lab", words[5:]
            if name in PROGRAMS and len(words) > 1:
                arguments = words[1:]
                # A placeholder in the place of a value is a value like any other; one in the place of a subcommand is none.
                if arguments[0].isupper() or any(is_placeholder(word) for word in arguments):
                    continue
                tried += 1
                done = subprocess.run([os.path.join(folder, name), *arguments, "--help"], capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    problems.append(f"{where}\n    {done.stderr.strip().splitlines()[0]}")
            elif re.match(r"^(tests|packaging|systemd|benches|models)/[a-z]", words[0]) and " " not in words[0] and len(words) > 1:
                scripts += 1
                if not os.path.exists(words[0]):
                    problems.append(f"{where}\n    there is no {words[0]}")
                if words[0] == "tests/run":
                    for stage in words[1:]:
                        if not stage.startswith("-") and not is_placeholder(stage) and stage not in stages:
                            problems.append(f"{where}\n    there is no stage {stage}")

print(f"{len(pages)} pages: {tried} calls of our programs, {scripts} of scripts")
if tried < 40:
    problems.append("too few commands were found: has the form of the pages changed?")
for problem in problems:
    print(f"error: {problem}", file=sys.stderr)
sys.exit(bool(problems))
