"""One file a language: each says everything that the others do, and nothing that people read stands elsewhere."""

from __future__ import annotations

import ast
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from dicom_importer import words
from dicom_importer.reasons import REASONS
from stack import alert_test
from stack.settings import PODMAN_DIR, TOP, load
from stack.words import LANGUAGES, file, words_tmpl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = sorted(LANGUAGES.glob("*.json"))
TEXTS: dict[str, dict[str, Any]] = {one.stem: json.loads(one.read_text()) for one in FILES}
ENGLISH = TEXTS["en"]
OTHERS = sorted(TEXTS.keys() - {"en"})
PAGE = PODMAN_DIR / "nginx" / "inbox"
PACKAGE = TOP / "importer" / "src" / "dicom_importer"
# Of a number, as CLDR names them; all that a language lacks is `other`.
FORMS = {"zero", "one", "two", "few", "many", "other"}
PLACEHOLDER = re.compile(r"\{(\w+)\}")
# Such texts would end a string of nginx, of JSON or of JavaScript, or be read as a variable.
UNSAFE = set('"\\$<>&`\n')


def texts(value: object, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each text by its place, of the forms of a number each."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from texts(one, (*place, key))
    else:
        yield place, str(value)


def plain(place: tuple[str, ...]) -> tuple[str, ...]:
    """Return a place without the form of a number."""
    return place[:-1] if place[0] == "page" and len(place) == 3 else place


def asked(language: str) -> dict[tuple[str, ...], set[str]]:
    """Return what each text is filled with; alerts stand in their rules, in English."""
    found: dict[tuple[str, ...], set[str]] = {}
    for place, text in texts({k: v for k, v in TEXTS[language].items() if k != "alerts"}):
        found.setdefault(plain(place), set()).update(PLACEHOLDER.findall(text))
    return found


def rules() -> dict[str, dict[str, str]]:
    """Return the English texts of each alert, with the names of what fills them."""
    made = {"AlertTest": alert_test.ANNOTATIONS}
    for path in (PODMAN_DIR / "prometheus" / "rules").glob("*.yml"):
        for group in yaml.safe_load(path.read_text())["groups"]:
            made |= {rule["alert"]: rule["annotations"] for rule in group["rules"]}
    return made


def filled(text: str) -> set[str]:
    """Return what a rule fills its text with, by the names that languages have for that."""
    labels = set(re.findall(r"\{\{ \$labels\.(\w+) \}\}", text))
    return labels | ({"value"} if "$value" in text else set())


def test_there_is_english_and_another_language_each_named_as_its_file() -> None:
    assert {"en", "de"} <= TEXTS.keys()
    assert {name: one["language"] for name, one in TEXTS.items()} == {n: n for n in TEXTS}


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_says_all_that_english_does_with_the_same_placeholders(language: str) -> None:
    assert asked(language) == asked("en")
    assert len(asked("en")) > 150
    for place, text in texts(TEXTS[language]):
        assert text.strip(), place


@pytest.mark.parametrize("language", sorted(TEXTS))
def test_what_depends_on_a_number_has_a_form_for_each(language: str) -> None:
    numbered = {k: v for k, v in TEXTS[language]["page"].items() if isinstance(v, dict)}
    assert numbered.keys() == {k for k, v in ENGLISH["page"].items() if isinstance(v, dict)}
    for name, forms in numbered.items():
        assert "other" in forms, name
        assert forms.keys() <= FORMS, name
        for text in forms.values():
            assert set(PLACEHOLDER.findall(text)) == asked("en")["page", name], name


@pytest.mark.parametrize("language", OTHERS)
def test_nothing_was_left_untranslated(language: str) -> None:
    english = dict(texts(ENGLISH))
    same = {place for place, text in texts(TEXTS[language]) if english.get(place) == text}
    assert {plain(place) for place in same} <= {("page", "problem"), ("mail", "time")}


@pytest.mark.parametrize("language", OTHERS)
def test_every_alert_has_its_text_with_what_its_rule_fills_in(language: str) -> None:
    alerts = TEXTS[language]["alerts"]
    assert alerts.keys() == rules().keys()
    for name, english in rules().items():
        for kind in ("summary", "description"):
            found = set(PLACEHOLDER.findall(alerts[name][kind]))
            assert found == filled(english[kind]), (name, kind)
        assert alerts[name].keys() == {"summary", "description"}


def test_the_value_that_another_language_shows_is_the_one_that_english_does() -> None:
    for name, english in rules().items():
        shown = re.findall(r"\{\{[^{}]*\$value[^{}]*\}\}", english["description"])
        assert "$value" not in english["summary"], name
        assert ([english["value"]] if "value" in english else []) == shown, name


def test_english_alerts_stand_in_their_rules_alone() -> None:
    assert ENGLISH["alerts"] == {}


@pytest.mark.parametrize("language", sorted(TEXTS))
def test_no_text_could_break_what_it_is_written_into(language: str) -> None:
    for name, text in TEXTS[language]["front"].items():
        assert not UNSAFE & set(text), name
        assert not PLACEHOLDER.search(text), name
    for place, text in texts({k: TEXTS[language][k] for k in ("alerts", "mail")}):
        assert "{{" not in text, place
        assert '"' not in text, place


@pytest.mark.parametrize("language", sorted(TEXTS))
def test_every_reason_has_its_words(language: str) -> None:
    assert words.load(language).reasons.keys() == REASONS.keys()
    # What a file fails with is named in the code as REASONS names it.
    code = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    named = set(re.findall(r"(?:Rejected|NotDicom|Failure)\(\s*\"(\w+)\"", code))
    assert len(named) > 10
    assert named <= REASONS.keys()


def test_a_language_without_a_file_reads_english() -> None:
    assert words.load("fr") == words.load("en")
    assert file("fr") == file("en") != file("de")


def test_the_page_and_the_importer_refuse_in_the_languages_words_alone() -> None:
    named: set[str] = set()
    for path in [*sorted((PACKAGE / "page").glob("*.py")), PACKAGE / "web.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = (
                node.func.attr
                if isinstance(node.func, ast.Attribute)
                else getattr(node.func, "id", "")
            )
            said = {"Refused": node.args[1:2], "BadNameError": node.args[:1]}.get(name, [])
            named |= {str(one.value) for one in said if isinstance(one, ast.Constant)}
            # A sentence of its own would be read by people, in English.
            assert name != "Refusal" or path.name == "web.py", f"{path.name}:{node.lineno}"
    named |= set(re.findall(r'says\["(\w+)"', (PACKAGE / "web.py").read_text()))
    named |= {"full", "later"}
    assert named == ENGLISH["refusals"].keys()


def test_the_front_says_what_the_language_has_and_nothing_else() -> None:
    sources = [*(PODMAN_DIR / "nginx").rglob("*.conf"), *PAGE.iterdir()]
    sources.append(PODMAN_DIR / "ohif" / "app-config.js")
    used = {n for p in sources for n in re.findall(r"\bwords_([a-z0-9_]+)", p.read_text())}
    assert used == ENGLISH["front"].keys()
    said = (PODMAN_DIR / "nginx" / "includes" / "errors.conf").read_text()
    lines = [line for line in said.splitlines() if not line.lstrip().startswith("#")]
    assert re.findall(r'"error":"(?!\$)[^"]*"', "".join(lines)) == []


def test_the_page_says_what_the_language_has_and_nothing_else() -> None:
    html = (PAGE / "index.html").read_text()
    shown = set(re.findall(r'data-words="(\w+)"', html))
    script = "".join(path.read_text() for path in PAGE.glob("*.js"))
    calls = re.findall(r"\bsay\(((?:[^()]|\([^()]*\))*)\)", script)
    shown |= {name for call in calls for name in re.findall(r"'([\w-]+)'", call.partition("{")[0])}
    shown |= {
        f"{kind}_{key}"
        for kind, keys in re.findall(r"choice\('(\w+)', \[(.*?)\]", script)
        for key in re.findall(r"'(\w+)'", keys)
    }
    shown |= set(re.findall(r"\['(\w+)', (?:filed|again|beside)\]", script))
    shown |= set(re.findall(r"\? '(\w+)' : '(\w+)';", script)[0])
    unnamed = {name for name in ENGLISH["page"] if name.startswith("unnamed_")}
    assert unnamed == {"unnamed_page", "unnamed_stow-rs"}
    assert shown | unnamed == ENGLISH["page"].keys()
    # Between the marks there is nothing to read, and no string of the scripts is a sentence.
    assert re.findall(r">[^<>\n]*[A-Za-z]{2}[^<>\n]*<", re.sub(r"<!--.*?-->", "", html)) == []
    code = re.sub(r"(?m)(^|\s)//.*$", "", script)
    strings = (a or b for a, b in re.findall(r"'([^'\n]*)'|`([^`]*)`", code))
    own = (re.sub(r"\$\{.*?\}", "", one) for one in strings)
    sentences = [one for one in own if re.search(r"[A-Za-z]{2,} [a-z]{2,}", one)]
    assert sentences == []


def test_the_viewer_takes_its_language_from_the_setting() -> None:
    said = (PODMAN_DIR / "ohif" / "app-config.js").read_text()
    assert """'<!--# echo var="language_tag" -->'""" in said
    for name in (401, 403, 503, "no_pixels", "not_decoded", "not_shown", "nothing"):
        assert f'{name}: `<!--# echo var="words_viewer_{name}" -->`' in said


def test_alertmanagers_templates_are_whole(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("LANGUAGE_TAG=de\n")
    german = words_tmpl(load(tmp_path / "env"))
    assert len(re.findall(r"\{\{ (?:if|define) ", german)) == german.count("{{ end }}") > 70
    assert (
        '{{ if eq .Labels.alertname "DiskLow" }}Auf der Festplatte {{ .Labels.device }}' in german
    )
    assert "seit {{ .Annotations.value }}" in german
    # What the configuration asks for is there.
    shipped = (PODMAN_DIR / "alertmanager" / "alertmanager.json").read_text()
    wanted = set(re.findall(r'template \\"([\w.]+)\\"', shipped))
    assert wanted == set(re.findall(r'define "([\w.]+)"', german))
