//! What notices say.

use std::fmt;

use super::{Notice, Wire};
use crate::cognito::refusal::Refusal;

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PasswordIsSent(wire) => {
                let how = if *wire == Wire::Tls { "inside TLS" } else { "in plain HTTP on this machine" };
                write!(
                    f,
                    "the app client does not allow ALLOW_USER_SRP_AUTH: the password itself is sent to Cognito, {how}"
                )
            }
            Self::Again(Refusal::SpentCode) => write!(f, "{}; wait for the next one", Refusal::SpentCode),
            Self::Again(refusal) => write!(f, "{refusal}; try again"),
            Self::Restarted(refusal) => write!(f, "{refusal}; beginning again"),
            Self::DeviceForgotten => {
                write!(f, "{}; signing in without it", Refusal::UnknownDevice)
            }
            Self::NewPasswordWanted => f.write_str("this password is temporary: choose a new one"),
            Self::NewApplication { .. } => f.write_str(
                "the pool wants a second factor: add this account to an authenticator application, by the picture or \
                 by the secret below it",
            ),
            Self::PasskeyLeftOut => f.write_str("the pool also offers a passkey, which a terminal cannot use"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn no_notice_says_a_secret() {
        let notice =
            Notice::NewApplication { uri: Secret::from("otpauth://x?secret=ABC"), secret: Secret::from("ABC") };
        assert!(!notice.to_string().contains("ABC") && !format!("{notice:?}").contains("ABC"));
        assert!(Notice::PasswordIsSent(Wire::Tls).to_string().ends_with("is sent to Cognito, inside TLS"));
        assert_eq!(Notice::Again(Refusal::WrongCode).to_string(), "wrong code; try again");
        assert_eq!(
            Notice::Again(Refusal::SpentCode).to_string(),
            "that code has expired, or was used before; wait for the next one"
        );
    }
}
