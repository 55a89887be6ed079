"""The part of OData that Microsoft Graph speaks: query options, filters, projection, paging."""
