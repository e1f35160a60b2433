/* The fields of ESP-IDF 5's esp_mqtt_client_config_t that a header of tbcert sets, with their types. */
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef enum { MQTT_TRANSPORT_UNKNOWN, MQTT_TRANSPORT_OVER_TCP, MQTT_TRANSPORT_OVER_SSL } esp_mqtt_transport_t;

typedef struct {
    struct {
        struct {
            const char *uri;
            const char *hostname;
            esp_mqtt_transport_t transport;
            const char *path;
            uint32_t port;
        } address;
        struct {
            const char *certificate;
            size_t certificate_len;
        } verification;
    } broker;
    struct {
        const char *username;
        const char *client_id;
        struct {
            const char *password;
            const char *certificate;
            size_t certificate_len;
            const char *key;
            size_t key_len;
        } authentication;
    } credentials;
} esp_mqtt_client_config_t;
