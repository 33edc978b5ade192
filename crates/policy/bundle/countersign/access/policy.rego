# Deny, unless a grant lets this principal reach this service.
#
# input.principal.names  every name that a grant could have for the principal, the most exact first;
#                        a client without an identity has the name "anonymous" and no other
# data.grants            principal -> service -> conditions
#
# The most exact grant names the decision. `data.grants` is looked up, never scanned.
package countersign.access

decision := {"allow": true, "rule": rules[0]} if {
	grants := data.grants
	services := [input.request.service, "*"]
	rules := [concat("", ["grant ", principal, " -> ", service]) |
		some principal in input.principal.names
		granted := grants[principal]
		some service in services
		granted[service]
	]
	count(rules) > 0
}
