#!/usr/bin/env bash
# The canonical form that lxml gives of a part of a document has the namespaces from outside, and not the language.
#
# Version: lxml 6.1.3 with libxml2 2.14.6 (PyPI).
# Guess: the inclusive canonical form of an element has all that it inherits, xml:lang and xml:space as well as namespaces, as
#   Canonical XML 1.0 says of a part of a document; only the exclusive one leaves out what is not used.
# Behaviour: the element is written as a document of its own, with the namespaces only. Two bodies that differ in the language set around them
#   have the same form, and the same hash or signature. In the new form, c14n2, an element whose namespace is declared outside is refused.
# Seen, of <c>words</c> in two documents that differ in xml:lang:
# | c14n: <c xmlns="urn:a" xmlns:p="urn:p">words</c>, the same for de and fr: True
# | c14n, exclusive: <c xmlns="urn:a">words</c>, the same for de and fr: True
# | c14n2: ValueError: Namespace "urn:a" of name "c" is not declared in scope
# | c14n of the whole, the same for de and fr: False
. "$(dirname "$0")/lib.sh"

python lxml==6.1.3

python3 - <<'PYTHON' | as_described
from lxml import etree

german, french = (etree.fromstring(f'<m xmlns="urn:a" xmlns:p="urn:p" xml:lang="{language}"><c>words</c></m>') for language in ("de", "fr"))


def forms(**how):
    try:
        return [etree.tostring(document[0], **how).decode() for document in (german, french)]
    except ValueError as error:
        return error


for name, how in {"c14n": {"method": "c14n"}, "c14n, exclusive": {"method": "c14n", "exclusive": True}}.items():
    de, fr = forms(**how)
    print(f"{name}: {de}, the same for de and fr: {de == fr}")
print(f"c14n2: ValueError: {forms(method='c14n2')}")
whole = [etree.tostring(document, method="c14n") for document in (german, french)]
print(f"c14n of the whole, the same for de and fr: {whole[0] == whole[1]}")
PYTHON
