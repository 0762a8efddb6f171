//! What is readable, what is not, and why.

use crate::stanza::{Flaw, Unreadable, read};

fn flaw(xml: &str) -> Option<Flaw> {
    read(xml).err().map(|it| it.flaw)
}

#[test]
fn takes_what_xml_allows() {
    let readable = [
        "<message/>",
        " \t\r\n<message></message > \n",
        "<message\n\ta = \"1\"\tb='\"'\r\n/>",
        "<message a='>' b='/>'>></message>",
        "<message>]] ></message>",
        "<message><![CDATA[<not a tag> & no reference ]] ]]></message>",
        "<message><![CDATA[]]></message>",
        "<message>&lt;&gt;&amp;&quot;&apos;&#9;&#xA;&#x1F44B;&#00065;</message>",
        "<message>\u{7f}\u{85}\u{2028}\u{fffd}\u{10ffff}</message>",
        "<message><\u{e9}l\u{e9}ment _a-b.c\u{b7}='1'/></message>",
        "<message xml:lang='en' xml:space='preserve'><body xml:lang='de'/></message>",
        "<message xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
        "<message xmlns:a='urn:a' a:x='1' x='2'/>",
        "<message xmlns:a='urn:a' xmlns:b='urn:b' a:x='1' b:x='2'/>",
        "<message><a xmlns:p='urn:1'><p:b xmlns:p='urn:2'><p:c/></p:b><p:b/></a></message>",
        "<message><a xmlns=''><b/></a></message>",
        "<iq type='get'/>",
        "<\u{e9}/>",
    ];
    for xml in readable {
        assert_eq!(read(xml).err(), None, "{xml}");
    }
}

#[test]
fn names_what_it_refuses() {
    use Flaw::{
        BadName, BadNamespace, Comment, CutOff, Doctype, DuplicateAttribute, ForbiddenCharacter,
        Malformed, MismatchedTag, NotXml, ProcessingInstruction, TrailingGarbage, UndeclaredEntity,
        UndeclaredPrefix,
    };
    let refused = [
        ("", NotXml),
        (" \n", NotXml),
        ("words", NotXml),
        ("\u{feff}<message/>", NotXml),
        ("&lt;message/>", NotXml),
        ("<", CutOff),
        ("<message", CutOff),
        ("<message a='1", CutOff),
        ("<message a='1>", CutOff),
        ("<message>", CutOff),
        ("<message><body>", CutOff),
        ("<message><body></body>", CutOff),
        ("<message><![CDATA[words]]", CutOff),
        ("<message>&am", Malformed),
        ("<message>&;</message>", UndeclaredEntity),
        ("<message>&LT;</message>", UndeclaredEntity),
        ("<message>&nbsp;</message>", UndeclaredEntity),
        ("<message a='&nbsp;'/>", UndeclaredEntity),
        ("<message>a & b</message>", Malformed),
        ("<message a='a & b'/>", Malformed),
        ("<message a='<'/>", Malformed),
        ("<message>]]></message>", Malformed),
        ("<message>&#;</message>", Malformed),
        ("<message>&#x;</message>", Malformed),
        ("<message>&#+65;</message>", Malformed),
        ("<message>&#X41;</message>", Malformed),
        ("<message>&#6A;</message>", Malformed),
        ("<message>&#0;</message>", ForbiddenCharacter),
        ("<message>&#xFFFE;</message>", ForbiddenCharacter),
        ("<message>&#xD800;</message>", ForbiddenCharacter),
        ("<message>&#x110000;</message>", ForbiddenCharacter),
        ("<message>&#99999999999999999999;</message>", ForbiddenCharacter),
        ("<message a='&#11;'/>", ForbiddenCharacter),
        ("<message>\u{1}</message>", ForbiddenCharacter),
        ("<message>\u{1f}</message>", ForbiddenCharacter),
        ("<message a='\u{b}'/>", ForbiddenCharacter),
        ("<message><![CDATA[\u{0}]]></message>", ForbiddenCharacter),
        ("<message>\u{fffe}</message>", ForbiddenCharacter),
        ("<message>\u{ffff}</message>", ForbiddenCharacter),
        ("<>", BadName),
        ("<1message/>", BadName),
        ("<-message/>", BadName),
        ("<mess,age/>", BadName),
        ("<\u{d7}/>", BadName),
        (":message/>", NotXml),
        ("<:message/>", BadName),
        ("<message:/>", BadName),
        ("<a:b:c xmlns:a='urn:a'/>", BadName),
        ("< message/>", BadName),
        ("<message/ >", BadName),
        ("<message =''/>", BadName),
        ("<message 1='1'/>", BadName),
        ("<message a/>", Malformed),
        ("<message a=1/>", Malformed),
        ("<message a='1'b='2'/>", Malformed),
        ("<message a='1\"/>", CutOff),
        ("<message/a='1'>", BadName),
        ("</message>", MismatchedTag),
        ("<message></body>", MismatchedTag),
        ("<message></ message>", MismatchedTag),
        ("<message><body></message></body>", MismatchedTag),
        ("<message></Message>", MismatchedTag),
        ("<message/><message/>", TrailingGarbage),
        ("<message/>words", TrailingGarbage),
        ("<message/>&#32;", TrailingGarbage),
        ("<message/><![CDATA[]]>", TrailingGarbage),
        ("<message/></message>", MismatchedTag),
        ("<message a='1' a='2'/>", DuplicateAttribute),
        ("<message xmlns='jabber:client' xmlns='urn:a'/>", DuplicateAttribute),
        ("<message xmlns:a='urn:a' xmlns:b='urn:a' a:x='1' b:x='2'/>", DuplicateAttribute),
        ("<message><a:b/></message>", UndeclaredPrefix),
        ("<message><b a:c='1'/></message>", UndeclaredPrefix),
        ("<message><b xmlns:a='urn:a'/><a:c/></message>", UndeclaredPrefix),
        ("<message xmlns:a=''/>", BadNamespace),
        ("<message xmlns:xml='urn:a'/>", BadNamespace),
        ("<message xmlns:xmlns='urn:a'/>", BadNamespace),
        ("<message xmlns:a='http://www.w3.org/XML/1998/namespace'/>", BadNamespace),
        ("<message xmlns='http://www.w3.org/2000/xmlns/'/>", BadNamespace),
        ("<xmlns:message/>", UndeclaredPrefix),
        ("<!DOCTYPE message><message/>", Doctype),
        ("<message><!DOCTYPE message></message>", Doctype),
        ("<!ELEMENT message><message/>", Malformed),
        ("<!-- words --><message/>", Comment),
        ("<message><!-- words --></message>", Comment),
        ("<message/><!-- words -->", Comment),
        ("<?xml version='1.0'?><message/>", ProcessingInstruction),
        ("<message><?php words ?></message>", ProcessingInstruction),
    ];
    for (xml, expected) in refused {
        assert_eq!(flaw(xml), Some(expected), "{xml}");
    }
}

#[test]
fn says_where_and_nothing_of_the_stanza() {
    let unreadable = read("<message><body>secret</body><p:x/></message>").unwrap_err();
    assert_eq!(unreadable, Unreadable { flaw: Flaw::UndeclaredPrefix, at_byte: 28 });
    assert_eq!(unreadable.to_string(), "a namespace prefix is undeclared, at byte 28");
    let control = read("<message>\u{e4}\u{fffe}\u{1}</message>").unwrap_err();
    assert_eq!(control, Unreadable { flaw: Flaw::ForbiddenCharacter, at_byte: 11 });
}

#[test]
fn the_last_stanza_id_is_the_servers() {
    let id =
        |by: &str, id: &str| format!("<stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='{id}'/>");
    let (forged, real) = (id("bob@example.org", "1"), id("bob@example.org", "2"));
    let xml = format!("<message>{forged}<body>words</body>{real}<b/></message>");
    let last = read(&xml).unwrap().last_stanza_id.unwrap();
    assert_eq!((last.by.as_str(), last.id.as_str()), ("bob@example.org", "2"));
    let broken = "<stanza-id xmlns='urn:xmpp:sid:0' by='bob@example.org'/>";
    let xml = format!("<message>{real}{broken}<x>{forged}</x></message>");
    assert_eq!(read(&xml).unwrap().last_stanza_id.unwrap().id, "2");
}
