"""The test sets of our own in workloads/eval: made up, with the columns of the public ones.

    python tests/builtin_sets.py

They hold sums that the simulator can do, and that a weak model can too: they show that an eval
works, not how able a model is.
"""

import csv
import io
import json
from pathlib import Path

from benchcore.base.seeds import stream

FOLDER = Path(__file__).parents[1] / "workloads" / "eval"
CANARY = "made by benchcore's developers for its tests"
THINGS = ("books", "pens", "boxes", "seats", "lamps", "stamps", "coins", "cups")
DOMAINS = ("Counting", "Taking away", "Times")
PLACES = {
    "bn": "একটি দোকানের হিসাব",
    "de": "Aus der Rechnung eines Ladens",
    "en": "From the books of a shop",
    "es": "De las cuentas de una tienda",
    "fr": "Des comptes d'un magasin",
    "ja": "お店の計算です",
    "ru": "Из счетов магазина",
    "sw": "Kutoka hesabu za duka",
    "te": "ఒక దుకాణం లెక్క",
    "th": "จากบัญชีของร้าน",
    "zh": "来自一家商店的账目",
}


def sums(name, count):
    """Yields domain, thing, the sum as text, and its value; no two alike."""
    draws = stream(0, "builtin", name)
    seen = set()
    while len(seen) < count:
        one, other = 11 + int(draws.random() * 88), 2 + int(draws.random() * 97)
        kind = int(draws.random() * 3)
        if kind == 1 and other > one:
            one, other = other, one
        text = f"{one} {'+−×'[kind]} {other} = ?"
        thing = THINGS[int(draws.random() * len(THINGS))]
        if text in seen:
            continue
        seen.add(text)
        yield DOMAINS[kind], thing, text, (one + other, one - other, one * other)[kind]


def wrong(value, count):
    """Values near a right one."""
    near = [value + 1, value + 10, abs(value - 3) if value != 3 else 7, value + 2, value + 100]
    near += [value + 11, value + 20, value + 5, value + 7]
    return [str(number) for number in dict.fromkeys(near) if number != value][:count]


def gpqa():
    for number, (domain, thing, text, value) in enumerate(sums("gpqa", 100)):
        first, second, third = wrong(value, 3)
        yield {
            "Record ID": f"builtin{number:03d}",
            "Question": f"How many {thing} are there? {text}",
            "Correct Answer": str(value),
            "Incorrect Answer 1": first,
            "Incorrect Answer 2": second,
            "Incorrect Answer 3": third,
            "High-level domain": domain,
            "Canary String": CANARY,
        }


def placed(value, place, count):
    choices = wrong(value, count - 1)
    choices.insert(place, str(value))
    return choices


def mmlu():
    for number, (domain, thing, text, value) in enumerate(sums("mmlu", 100)):
        place = number % 4
        choices = placed(value, place, 4)
        yield {
            "Question": f"How many {thing}? {text}",
            **dict(zip("ABCD", choices, strict=True)),
            "Answer": "ABCD"[place],
            "Subject": domain.lower().replace(" ", "_"),
        }


def mmlu_pro():
    for number, (domain, thing, text, value) in enumerate(sums("mmlu_pro", 60)):
        count = 10 if number % 3 else 6
        place = number % count
        yield {
            "question_id": number,
            "question": f"How many {thing}? {text}",
            "options": placed(value, place, count),
            "answer": "ABCDEFGHIJ"[place],
            "answer_index": place,
            "category": domain.lower(),
        }


def mmlu_pro_validation():
    for domain in DOMAINS:
        solved = [found for found in sums(f"mmlu_pro {domain}", 60) if found[0] == domain]
        for number, (_, thing, text, value) in enumerate(solved[:5]):
            letter = "ABCDEFGHIJ"[number]
            yield {
                "question_id": number,
                "question": f"How many {thing}? {text}",
                "options": placed(value, number, 6),
                "answer": letter,
                "answer_index": number,
                "cot_content": f"A: Let's think step by step. {text.removesuffix(' = ?')} makes "
                f"{value}. The answer is ({letter}).",
                "category": domain.lower(),
            }


def gsm8k():
    for _, thing, text, value in sums("gsm8k", 100):
        yield {
            "question": f"Ann counts her {thing}. {text}",
            "answer": f"Ann has <<{text.split(' =')[0]}={value}>>{value} {thing}.\n#### {value:,}",
        }


def math500():
    for number, (domain, _, text, value) in enumerate(sums("math500", 60)):
        yield {
            "problem": f"Find the number. {text}",
            "answer": str(value) if number % 3 else f"\\frac{{{2 * value}}}{{2}}",
            "subject": domain,
            "level": 1,
            "unique_id": f"builtin/{number}",
        }


def mgsm():
    for name, place in PLACES.items():
        for _, _, text, value in sums(f"mgsm {name}", 20):
            yield {"group": name, "question": f"{place}: {text}", "answer": f"{value:,}"}


ORDERS = (
    ("punctuation:no_comma", {}, "Do not use any commas."),
    ("change_case:english_lowercase", {}, "Write in English and in all lowercase letters."),
    ("keywords:existence", {"keywords": ["harbour"]}, "Include the word harbour."),
    ("detectable_format:number_bullet_lists", {"num_bullets": 3}, "Give exactly 3 bullet points."),
    (
        "length_constraints:number_words",
        {"relation": "at least", "num_words": 40},
        "Write at least 40 words.",
    ),
    (
        "startend:end_checker",
        {"end_phrase": "that is all i know"},
        "End with the phrase: that is all i know.",
    ),
)


def ifeval():
    number = 0
    for first, (name, given, order) in enumerate(ORDERS):
        for other, other_given, other_order in (("", {}, ""), *ORDERS[first + 1 :]):
            for subject in ("rivers", "the sea"):
                names = [name, other] if other else [name]
                yield {
                    "key": number,
                    "prompt": f"Write about {subject}. {order} {other_order}".strip(),
                    "instruction_id_list": names,
                    "kwargs": [given, other_given][: len(names)],
                }
                number += 1


def files():
    """Yields each file's name and content."""
    for name, rows in (("gpqa.csv", gpqa()), ("mmlu.csv", mmlu())):
        found = list(rows)
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
        yield name, out.getvalue()
    makers = {
        "mmlu_pro": mmlu_pro,
        "mmlu_pro_validation": mmlu_pro_validation,
        "gsm8k": gsm8k,
        "math500": math500,
        "mgsm": mgsm,
        "ifeval": ifeval,
    }
    for name, rows in makers.items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows()]
        yield f"{name}.jsonl", "".join(lines)


if __name__ == "__main__":
    for name, content in files():
        (FOLDER / name).write_text(content, encoding="utf-8")
        print(f"{FOLDER / name}: {content.count(chr(10))} lines")
