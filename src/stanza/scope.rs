use std::{borrow::Cow, collections::HashMap};

use super::{
    Flaw,
    attributes::{Attribute, Name, has_twins},
    element::JABBER_CLIENT,
};

const XML: &str = "http://www.w3.org/XML/1998/namespace";
const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// The namespace declarations in scope (Namespaces in XML 1.0).
///
/// A look-up takes constant time, however deeply declarations are nested.
#[derive(Debug, Default)]
pub(super) struct Scope<'a> {
    /// Default namespaces, innermost last, each with the depth of the declaring element.
    defaults: Vec<(usize, Cow<'a, str>)>,
    /// The namespaces of each prefix, innermost last.
    prefixed: HashMap<&'a str, Vec<Cow<'a, str>>>,
    /// The prefixes declared by open elements, with their depths, for undoing.
    declared: Vec<(usize, &'a str)>,
}

impl<'a> Scope<'a> {
    /// Adds the declarations of an element at `depth`, and checks the namespaces of its other attributes.
    pub(super) fn enter(&mut self, depth: usize, attributes: &[Attribute<'a>]) -> Result<(), Flaw> {
        let mut is_prefixed = false;
        for Attribute { name, value } in attributes {
            if name.prefix.is_empty() {
                if name.local == "xmlns" {
                    self.declare_default(depth, value.clone())?;
                }
            } else if name.prefix == "xmlns" {
                self.declare(depth, name.local, value.clone())?;
            } else {
                is_prefixed = true;
            }
        }
        if is_prefixed { self.check(attributes) } else { Ok(()) }
    }

    fn declare_default(&mut self, depth: usize, to: Cow<'a, str>) -> Result<(), Flaw> {
        if [XML, XMLNS].contains(&to.as_ref()) {
            return Err(Flaw::BadNamespace);
        }
        self.defaults.push((depth, to));
        Ok(())
    }

    fn declare(&mut self, depth: usize, prefix: &'a str, to: Cow<'a, str>) -> Result<(), Flaw> {
        let allowed = match prefix {
            "xml" => to == XML,
            "xmlns" => false,
            _ => ![XML, XMLNS, ""].contains(&to.as_ref()),
        };
        if !allowed {
            return Err(Flaw::BadNamespace);
        }
        self.prefixed.entry(prefix).or_default().push(to);
        self.declared.push((depth, prefix));
        Ok(())
    }

    /// Every prefix is declared, and no attribute occurs twice under two prefixes of one namespace.
    fn check(&self, attributes: &[Attribute<'a>]) -> Result<(), Flaw> {
        let names = attributes.iter().map(|it| it.name);
        let prefixed = names.filter(|it| !matches!(it.prefix, "" | "xml" | "xmlns"));
        for name in prefixed.clone() {
            self.of(name)?;
        }
        if has_twins(prefixed.map(|it| (it.local, self.of(it).ok()))) {
            return Err(Flaw::DuplicateAttribute);
        }
        Ok(())
    }

    /// The namespace of an element, or of a prefixed attribute.
    pub(super) fn of(&self, name: Name<'a>) -> Result<&str, Flaw> {
        match name.prefix {
            "" => Ok(self.defaults.last().map_or(JABBER_CLIENT, |(_, namespace)| namespace)),
            "xml" => Ok(XML),
            prefix => self
                .prefixed
                .get(prefix)
                .and_then(|namespaces| namespaces.last())
                .map(AsRef::as_ref)
                .ok_or(Flaw::UndeclaredPrefix),
        }
    }

    /// Drops the declarations of the element at `depth`, which has ended.
    pub(super) fn leave(&mut self, depth: usize) {
        if self.defaults.last().is_some_and(|(at, _)| *at == depth) {
            self.defaults.pop();
        }
        while let Some((_, prefix)) = self.declared.pop_if(|(at, _)| *at == depth) {
            if let Some(namespaces) = self.prefixed.get_mut(prefix) {
                namespaces.pop();
            }
        }
    }
}
