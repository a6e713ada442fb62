"""The syntax of `--where`: text to a Filter or a Tree of Filters.

    condition  = all { "or" all }
    all        = one { "and" one }
    one        = "not" one | "(" condition ")" | comparison
    comparison = FIELD OPERATOR VALUE | FIELD "exists"

A FIELD or a text VALUE with characters that have a meaning here is written in double quotes, as in JSON. Knows
conditions and JSON values, but no commands or stores.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from datastore.model.errors import DatastoreError, InvalidQueryError
from datastore.model.fields import KEY_FIELD, METADATA_FIELDS, Filter
from datastore.model.key import Key
from datastore.model.limits import FILTER_DEPTH
from datastore.model.operators import OPERATORS
from datastore.model.trees import Condition, Tree
from datastore_server.cli.instants import instant
from datastore_server.cli.values import from_json

__all__ = ["parse_where"]

_OPERATORS = ", ".join(OPERATORS)
_ENDS = r"(?=\s*(?:$|\))|\s+(?:and|or)\s)"
#: An operator after a bare field: symbols or a word. `born in = 1900` compares the field `born in`.
_OPERATOR = re.compile(
    rf"[<>=!~]+|(?<=\s)(?:(?:not\s+in|in|starts_with|contains)(?![^\s\[\"{{])(?!\s*[<>=!~])|exists{_ENDS})",
    re.IGNORECASE,
)
#: The same after a quoted field, where a space is not needed.
_OPERATOR_HERE = re.compile(_OPERATOR.pattern.replace(r"(?<=\s)", ""), re.IGNORECASE)
_NOT = re.compile(r"not(?:\s*(?=\()|\s+(?![\s<>=!~]))", re.IGNORECASE)
#: Another condition after a bare value: `and` in a text is part of the text unless a comparison follows.
_NEXT = re.compile(
    r"\s(?P<joint>and|or|&&|\|\|)\s+(?:\(\s*|not\s+|not(?=\())*"
    r"(?:\"(?:[^\"\\]|\\.)*\"|[^\s<>=!~()\"]+)"
    rf"(?:\s*(?:<=|>=|!=|==|=|<|>)\s*\S|\s+(?:(?:not\s+)?in\s*\[|starts_with\s+\S|contains\s+\S|exists{_ENDS}))",
    re.IGNORECASE,
)
_JOINT = re.compile(r"\s*(and|or)(?=[\s(])\s*", re.IGNORECASE)
#: What a bare value cannot end with: something was forgotten.
_ENDING = re.compile(r"\s(and|or|and\s+not|or\s+not|&&|\|\|)$", re.IGNORECASE)
_QUOTE = "a text with that needs double quotes"
_FOREIGN_JOINT = re.compile(r"\s*(?:&&|\|\|)")
# Text that begins like JSON is meant as JSON: a typo in it must not make it text.
_JSON_BEGINNINGS = ('"', "{", "[")


def parse_where(text: str) -> Condition:
    """The condition of a text, e.g. `elevation >= 1000` or `country in ["CH", "AT"] and not (iata = "")`.

    `==` means `=`. A value is JSON if it can be parsed as JSON (`1000`, `true`, `null`, `"two words"`, `{"$bytes":
    "..."}`), otherwise it is plain text; for the field `__key__` it is a key, or a list of keys. Raises
    InvalidQueryError, which names the column, and LimitExceededError for conditions that are nested too deep.
    """
    return _Parser(text).parsed()


class _Parser:
    """Reads one text from left to right; `at` is the current position."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.groups = 0
        self.depth = 0

    def parsed(self) -> Condition:
        found = self._joined("or", lambda: self._joined("and", self._one))
        if self.text[self.at :].strip():
            self._skip_spaces()
            raise self._refused("the condition has ended here; what follows it begins with and or or")
        return found

    def _joined(self, joint: str, part: Callable[[], Condition]) -> Condition:
        parts = [part()]
        while (found := _JOINT.match(self.text, self.at)) and found[1].lower() == joint:
            self.at = found.end()
            parts.append(part())
        if _FOREIGN_JOINT.match(self.text, self.at):
            self._skip_spaces()
            raise self._refused("conditions are joined by and, or and not")
        return parts[0] if len(parts) == 1 else Tree(joint, parts)

    def _one(self) -> Condition:
        self._skip_spaces()
        negated = _NOT.match(self.text, self.at)
        if negated is None and not self.text.startswith("(", self.at):
            return self._comparison()
        if self.depth == FILTER_DEPTH:
            raise self._refused(f"parentheses and not may be nested {FILTER_DEPTH} deep")
        self.depth += 1
        if negated:
            self.at = negated.end()
            found: Condition = Tree("not", [self._one()])
        else:
            found = self._group()
        self.depth -= 1
        return found

    def _group(self) -> Condition:
        opened = self.at
        self.at += 1
        self.groups += 1
        found = self._joined("or", lambda: self._joined("and", self._one))
        self.groups -= 1
        self._skip_spaces()
        if not self.text.startswith(")", self.at):
            raise self._refused(f"the parenthesis of column {opened + 1} is not closed")
        self.at += 1
        return found

    def _comparison(self) -> Filter:
        field = self._field()
        self._skip_spaces()
        found = _OPERATOR_HERE.match(self.text, self.at)
        if found is None or not field:
            missing = "a field" if found else "an operator"
            raise self._refused(f"{missing} is missing: write a field, an operator ({_OPERATORS}) and a value")
        operator = " ".join(found[0].lower().split()).replace("==", "=")
        if operator not in OPERATORS:
            raise self._refused(f"the operator {found[0]!r} is not one of {_OPERATORS}")
        self.at = found.end()
        if operator == "exists":
            return Filter(field, operator, value=True)
        self._skip_spaces()
        begins = self.at
        written = self._written()
        if not written:
            raise self._refused('a value is missing: the empty text is "", an absent field is null')
        takes_list = OPERATORS[operator].takes_list
        if takes_list and not written.startswith("["):
            self.at = begins
            raise self._refused(f'a list of values follows {operator}, e.g. {field} {operator} ["CH", "AT"]')
        try:
            return Filter(field, operator, _value_of(field, written, takes_list))
        except DatastoreError as error:
            self.at = begins
            raise self._refused(str(error)) from error

    def _field(self) -> str:
        """The field with which a comparison begins; advances to its operator."""
        if self.text.startswith('"', self.at):
            try:
                field, self.at = json.JSONDecoder().raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                raise self._refused(f"its quoted field does not end: {error}") from error
            return str(field)
        found = _OPERATOR.search(self.text, self.at)
        end = found.start() if found else len(self.text)
        bare = self.text[self.at : end]
        if joint := re.search(r"\s(?:and|or|&&|\|\|)\s", bare, re.IGNORECASE):
            bare = bare[: joint.start()]
            end = self.at + joint.start()
        self.at = end
        return bare.strip()

    def _written(self) -> str:
        """The text of the value at this position; advances to its end."""
        begins = self.at
        if self.text.startswith(_JSON_BEGINNINGS, begins):
            try:
                _, end = json.JSONDecoder().raw_decode(self.text, begins)
            except (ValueError, RecursionError):
                # Parsing it as a value raises the specific error.
                end = len(self.text)
            written = self.text[begins:end]
        else:
            found = _NEXT.search(self.text, max(begins - 1, 0))
            end = self._closing(begins, found.start() if found else len(self.text))
            written = self.text[begins:end].strip()
            if ending := _ENDING.search(written):
                self.at = begins + ending.start(1)
                raise self._refused(f"no condition follows {ending[1]}; {_QUOTE}")
        if written:
            self.at = end
        return written

    def _closing(self, begins: int, end: int) -> int:
        """Where a bare value ends: before the closing parenthesis of its group, if it is in one."""
        inner = 0
        for place in range(begins, end):
            inner += {"(": 1, ")": -1}.get(self.text[place], 0)
            if inner < 0 and not self.groups:
                self.at = place
                raise self._refused(f"this parenthesis was not opened; {_QUOTE}")
            if inner < 0:
                return place
        return end

    def _skip_spaces(self) -> None:
        self.at = len(self.text) - len(self.text[self.at :].lstrip())

    def _refused(self, why: str) -> InvalidQueryError:
        column = f" (column {self.at + 1})" if self.text.strip() else ""
        return InvalidQueryError(f"the condition {self.text!r} cannot be read: {why}{column}", field="where")


def _value_of(field: str, written: str, takes_list: bool) -> Any:
    """The value with which a field is compared: a key for the key, and an instant for a time of the metadata."""
    if field == KEY_FIELD:
        return _keys(written, takes_list)
    value = _value(written)
    if not METADATA_FIELDS.get(field):
        return value
    return list(map(_instant, value)) if takes_list else _instant(value)


def _instant(value: Any) -> Any:
    return instant(value) if isinstance(value, str) else value


def _value(written: str) -> Any:
    try:
        json.loads(written, parse_constant=_text_after_all)
    except (ValueError, RecursionError):
        if not written.startswith(_JSON_BEGINNINGS):
            return written
    return from_json(written)


def _text_after_all(name: str) -> Any:
    # Python accepts NaN and Infinity, JSON does not.
    raise ValueError(name)


def _keys(written: str, takes_list: bool) -> Any:
    if takes_list:
        return [_key(each) for each in from_json(written)]
    return _key(from_json(written) if written.startswith(_JSON_BEGINNINGS) else written)


def _key(value: Any) -> Key:
    return value if isinstance(value, Key) else Key(value)
