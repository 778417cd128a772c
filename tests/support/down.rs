//! A part of the stack that is down. Dropped, it runs again, whatever has happened.

use anyhow::Result;

use super::stack::Stack;

/// What is down.
pub struct Down {
    stack: Stack,
    component: String,
    is_up: bool,
}

impl Down {
    /// Stops a component in order.
    pub fn stop(stack: &Stack, component: &str) -> Result<Self> {
        Self::take(stack, "stop", component)
    }

    /// `kill -9`.
    pub fn kill(stack: &Stack, component: &str) -> Result<Self> {
        Self::take(stack, "kill", component)
    }

    fn take(stack: &Stack, how: &str, component: &str) -> Result<Self> {
        let down = Self { stack: stack.clone(), component: component.into(), is_up: false };
        stack.script("stack.sh", &[how, component], &[])?;
        Ok(down)
    }

    /// Starts it again, and waits until it is healthy.
    pub fn start(mut self) -> Result<()> {
        self.is_up = true;
        self.stack.script("stack.sh", &["start", &self.component], &[]).map(|_| ())
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        if !self.is_up {
            // A failure to tidy up must not hide the failure that led here.
            let _ = self.stack.script("stack.sh", &["start", &self.component], &[]);
        }
    }
}
