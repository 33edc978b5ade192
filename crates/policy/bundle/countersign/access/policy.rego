# Deny, unless a token or a grant lets this principal reach this service, from a machine that is what is expected of it.
#
# input.appraisal        what was found of an agent's machine; "contraindicated" where it is not as expected
# input.principal.names  every name that a grant could have for the principal, the most exact first;
#                        a client without an identity has the name "anonymous" and no other
# input.token.service    the service that an operator issued a bearer token for
# data.grants            principal -> service -> conditions
#
# A bearer token is the grant for its service. Of other grants the most exact names the decision. `data.grants` is
# looked up, never scanned.
package countersign.access

decision := {"allow": false, "rule": "the machine is not what is expected of it"} if {
	input.appraisal.result == "contraindicated"
} else := {"allow": true, "rule": concat("", ["token ", input.principal.names[0], " -> ", input.token.service])} if {
	input.principal.kind == "bearer"
	input.token.service == input.request.service
} else := {"allow": true, "rule": rules[0]} if {
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
