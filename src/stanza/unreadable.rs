/// Why and where a stored stanza could not be read. Contains nothing from the stanza itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{flaw}, at byte {at_byte}")]
pub struct Unreadable {
    /// What is wrong with it.
    pub flaw: Flaw,
    /// Byte offset of the token with the flaw.
    pub at_byte: usize,
}

/// What is wrong with an unreadable stanza.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// Longer than [`MAX_BYTES`](super::MAX_BYTES).
    #[error("the stanza is too long")]
    TooLong,
    /// A character that XML 1.0 §2.2 forbids, literally or as a reference.
    #[error("a character that XML forbids")]
    ForbiddenCharacter,
    /// The text does not begin with an element.
    #[error("this is not XML")]
    NotXml,
    /// The text ends before the root element does.
    #[error("the stanza is cut off")]
    CutOff,
    /// Markup that is not valid XML.
    #[error("the XML is malformed")]
    Malformed,
    /// An end tag that does not match the open element.
    #[error("an end tag matches no start tag")]
    MismatchedTag,
    /// Something after the root element.
    #[error("something follows the stanza")]
    TrailingGarbage,
    /// An element or attribute name that is not a qualified name (Namespaces in XML 1.0 §4).
    #[error("a name is malformed")]
    BadName,
    /// A prefix that is not declared.
    #[error("a namespace prefix is undeclared")]
    UndeclaredPrefix,
    /// A declaration that Namespaces in XML 1.0 §3 forbids.
    #[error("a namespace declaration is not allowed")]
    BadNamespace,
    /// The same attribute twice in one tag.
    #[error("an attribute is repeated")]
    DuplicateAttribute,
    /// A reference to anything but a character or one of XML's five entities.
    #[error("an entity is undeclared")]
    UndeclaredEntity,
    /// A document type declaration (RFC 6120 §11.1).
    #[error("a DOCTYPE is not allowed")]
    Doctype,
    /// A comment (RFC 6120 §11.1).
    #[error("a comment is not allowed")]
    Comment,
    /// A processing instruction or XML declaration (RFC 6120 §11.1).
    #[error("a processing instruction is not allowed")]
    ProcessingInstruction,
}
