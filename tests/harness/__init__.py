"""What the end-to-end tests and the demo share: private servers, and popferry in a directory."""
