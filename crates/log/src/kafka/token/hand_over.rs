//! Gives a token to a client that nobody polls. librdkafka asks for a token by an
//! event, which the admin client of `rdkafka` never takes from its queue; it has no
//! safe call to set one either, hence the only unsafe call of this crate.

use std::ffi::CString;

use rdkafka::{
    ClientContext,
    bindings::rd_kafka_oauthbearer_set_token,
    client::{Client, OAuthToken},
    error::IsError,
};

/// Lets the client sign in with this token.
///
/// # Errors
/// In librdkafka's words; they never name the token.
#[allow(unsafe_code, reason = "rdkafka offers no other way to sign an admin client in")]
pub(in crate::kafka) fn hand_over<C: ClientContext>(
    client: &Client<C>,
    token: OAuthToken,
) -> Result<(), String> {
    let text = CString::new(token.token).map_err(|_| "the token holds a NUL byte")?;
    let principal = CString::new(token.principal_name).map_err(|_| "its subject holds a NUL")?;
    let mut told = [0_u8; 512];
    // SAFETY: the client lives as long as the borrow, the strings end with NUL and live
    // until the call returns, which copies them; there are no extensions; librdkafka
    // writes at most the given length of its error into the buffer.
    let code = unsafe {
        rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            text.as_ptr(),
            token.lifetime_ms,
            principal.as_ptr(),
            std::ptr::null_mut(),
            0,
            told.as_mut_ptr().cast(),
            told.len(),
        )
    };
    if code.is_error() {
        let text = told.split(|byte| *byte == 0).next().unwrap_or_default();
        return Err(String::from_utf8_lossy(text).into_owned());
    }
    Ok(())
}
