"""What an operator decides for an application, over HTTP: ours, beside the compatible API's own management."""
