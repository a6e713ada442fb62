"""The members of every class that the documentation of release 0.3.0 lists."""

from __future__ import annotations

_STORE = "contains delete get put query"

#: By class; members that it repeats from a base class are here once, with the class that documents them last.
MEMBERS = {
    "Datastore": _STORE,
    "NullDatastore": "delete get put query",
    "DictDatastore": _STORE,
    "InterfaceMappingDatastore": "delete get put",
    "ShimDatastore": "delete get put query",
    "CacheShimDatastore": "contains delete get put",
    "LoggingDatastore": _STORE,
    "KeyTransformDatastore": _STORE,
    "LowercaseKeyDatastore": "lowercaseKey",
    "NamespaceDatastore": "namespaceKey",
    "NestedPathDatastore": "nestKey nestedPath query",
    "SymlinkDatastore": "get link put query sentinel",
    "DirectoryDatastore": "delete directory directory_values_generator put query",
    "DatastoreCollection": "appendDatastore datastore insertDatastore removeDatastore",
    "TieredDatastore": _STORE,
    "ShardedDatastore": f"{_STORE} shard shardDatastore shard_query_generator",
    "SerializerShimDatastore": "deserializedValue get put query serializedValue serializer",
    "FileSystemDatastore": f"{_STORE} ignore_list object_extension object_path path relative_object_path relative_path",
    "Key": "child instance isAncestorOf isDescendantOf isTopLevel list name namespaces parent path randomKey"
    " removeDuplicateSlashes reverse type",
    "Namespace": "field namespace_delimiter value",
    "Cursor": "apply_filter apply_limit apply_offset apply_order next query returned skipped",
    "Filter": "conditional_operators filter generator object_getattr valuePasses",
    "Order": "isAscending isDescending keyfn multipleOrderComparison object_getattr order_operators sorted",
    "Query": "copy dict filter from_dict object_getattr order",
    "Serializer": "dumps loads",
    "NonSerializer": "dumps loads",
    "prettyjson": "dumps loads",
    "Stack": "dumps loads",
    "map_serializer": "dumps loads sentinel",
}

#: The documented names that PEP 8 spells otherwise.
TWINS = {
    "appendDatastore": "append_datastore",
    "deserializedValue": "deserialized_value",
    "insertDatastore": "insert_datastore",
    "isAncestorOf": "is_ancestor_of",
    "isAscending": "is_ascending",
    "isDescendantOf": "is_descendant_of",
    "isDescending": "is_descending",
    "isTopLevel": "is_top_level",
    "lowercaseKey": "lowercase_key",
    "multipleOrderComparison": "multiple_order_comparison",
    "namespaceKey": "namespace_key",
    "nestKey": "nest_key",
    "nestedPath": "nested_path",
    "randomKey": "random_key",
    "removeDatastore": "remove_datastore",
    "removeDuplicateSlashes": "remove_duplicate_slashes",
    "serializedValue": "serialized_value",
    "shardDatastore": "shard_datastore",
    "valuePasses": "value_passes",
}
