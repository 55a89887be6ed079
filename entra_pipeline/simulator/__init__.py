"""A stand-in for the Microsoft identity platform and Microsoft Graph v1.0, for tests and demos."""
