//! Fields of requests.

use serde_json::Value;

use crate::devpool::exception::Exception;

/// A field that is a string.
pub(super) fn text<'a>(request: &'a Value, field: &str) -> Option<&'a str> {
    request.get(field).and_then(Value::as_str)
}

/// A field that must be a string, refused in AWS's words.
pub(super) fn required<'a>(request: &'a Value, field: &str) -> Result<&'a str, Exception> {
    text(request, field).ok_or_else(|| {
        let mut name = field.to_owned();
        name[..1].make_ascii_lowercase();
        Exception::invalid_parameter(format!(
            "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
        ))
    })
}
