"""Open-Assistant's wire protocol, pure: requests, the event stream, answers and errors.

``website`` is what a logged-in browser calls, ``native`` the inference server behind it
(``wire/openassistant.md`` sections 3 and 10). Both send the same events.
"""
