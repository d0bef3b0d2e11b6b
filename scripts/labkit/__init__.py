"""The lab: two Culvert nodes, four pods, a host outside the mesh and a wire between them, in network namespaces."""
