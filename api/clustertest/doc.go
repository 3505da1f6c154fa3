// Package clustertest runs the product as it is meant to run, and breaks it: three PostgreSQL nodes under Patroni with
// three etcds, an API process per node, clients of all of them, and faults. The history of what the clients were told
// is then checked for linearizability, and what is stored is compared with it.
//
// Everything is in its tests. They need Patroni, etcd and PostgreSQL with the extension, take minutes, and run only
// when HV_CLUSTER is set ("make test-cluster", "make soak"); the checker's own tests always run. docs/CLUSTER.md says
// what they show.
//
// What runs is private: one temporary folder, addresses of its own in 127.0.0.0/8, no system service, nothing as root.
// A guardian process ends all of it should the test process die.
package clustertest
